/** What the measure of starts starts: nothing but a workflow. */
export async function job(): Promise<void> {
  return Promise.resolve()
}
