/** Variables of the environment that the server's process is started with. */

/**
 * Loading a model frees many large blocks. glibc would then serve blocks of their size from its heap and return none of it;
 * with a fixed threshold each goes back to the system when it is freed (docs/performance.md). Other systems know no such variable.
 */
export const processEnvironment = { MALLOC_MMAP_THRESHOLD_: "524288" } as const;
