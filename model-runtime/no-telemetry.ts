/**
 * Switches off what onnxruntime's packages do since version 1.29 unless told otherwise: give the machine a number in the
 * user's cache folder, collect events there and send them to Microsoft. Must be imported before onnxruntime, which reads the
 * variable once a process; a thread has to share the process's environment for it (`env: SHARE_ENV`).
 */
process.env.ORT_DISABLE_TELEMETRY = "1";
