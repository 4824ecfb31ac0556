/** Whether a process with this id runs, whoever's it is. */
export function isRunning(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process may not be asked.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
