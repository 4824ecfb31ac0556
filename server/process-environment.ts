/** Variables of the environment that the server's process is started with. */

/**
 * Loading a model frees many large blocks. glibc would then serve blocks of their size from its heap and return none of it;
 * with a fixed threshold each goes back to the system when it is freed (docs/performance.md). Other systems know no such variable.
 */
export const processEnvironment = { MALLOC_MMAP_THRESHOLD_: "524288" } as const;

/** The environment of a process that the server starts: training takes large blocks again and again, which it had better keep. */
export function withoutServerVariables(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const isServers = (name: string, value: string | undefined) =>
    name in processEnvironment && value === processEnvironment[name as keyof typeof processEnvironment];
  return Object.fromEntries(Object.entries(environment).filter(([name, value]) => !isServers(name, value)));
}
