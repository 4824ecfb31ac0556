/*
 * The functions of Node-API that addon.c calls, for Windows only. A library there names the program that it takes functions from, with
 * an import library of it: "node.exe", which VS Code's programs are not called. So they are looked up in whichever program runs.
 */
#include <node_api.h>
#include <windows.h>

#define FORWARD(name, parameters, arguments)                                                                        \
  napi_status NAPI_CDECL name parameters {                                                                          \
    static __typeof__(name) *function;                                                                              \
    if (function == NULL) function = (__typeof__(function))(void *)GetProcAddress(GetModuleHandleW(NULL), #name);   \
    return function == NULL ? napi_generic_failure : function arguments;                                            \
  }

FORWARD(napi_create_external, (napi_env env, void *data, napi_finalize finalize, void *hint, napi_value *result),
        (env, data, finalize, hint, result))
FORWARD(napi_create_function,
        (napi_env env, const char *name, size_t length, napi_callback call, void *data, napi_value *result),
        (env, name, length, call, data, result))
FORWARD(napi_create_string_utf8, (napi_env env, const char *text, size_t length, napi_value *result), (env, text, length, result))
FORWARD(napi_get_cb_info,
        (napi_env env, napi_callback_info info, size_t *count, napi_value *given, napi_value *receiver, void **data),
        (env, info, count, given, receiver, data))
FORWARD(napi_get_typedarray_info,
        (napi_env env, napi_value array, napi_typedarray_type *type, size_t *length, void **data, napi_value *buffer, size_t *offset),
        (env, array, type, length, data, buffer, offset))
FORWARD(napi_get_value_double, (napi_env env, napi_value value, double *result), (env, value, result))
FORWARD(napi_get_value_external, (napi_env env, napi_value value, void **result), (env, value, result))
FORWARD(napi_get_value_int32, (napi_env env, napi_value value, int32_t *result), (env, value, result))
FORWARD(napi_set_named_property, (napi_env env, napi_value object, const char *name, napi_value value), (env, object, name, value))
