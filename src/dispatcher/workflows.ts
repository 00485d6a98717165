import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import { NUDGE } from '../../workflows/messages.js'
import type { Temporal } from '../temporal/connection.js'
import type { Area } from './routes.js'

/** Which workflow runs for which stream, and how Temporal is told. */
export class Workflows {
  private readonly temporal: Temporal
  private readonly installation: string
  private readonly taskQueue: string
  private readonly timeoutMs: number

  /** @param options.timeoutMs for one call, its retries included */
  constructor(
    temporal: Temporal,
    options: { readonly installation: string; readonly taskQueue: string; readonly timeoutMs?: number },
  ) {
    this.temporal = temporal
    this.installation = options.installation
    this.taskQueue = options.taskQueue
    this.timeoutMs = options.timeoutMs ?? 5_000
  }

  /** A workflow's id comes from its stream, so that a repeat starts nothing. */
  idOf(tenant: string, stream: string): string {
    return `${this.installation}/${tenant}/${stream}`
  }

  /**
   * Starts the workflow of a stream, unless it runs already.
   * @param options.again also where one ran to its end before; otherwise only where it failed or was ended by hand
   * @returns whether it runs now: `over` where one ran to its end before
   */
  async start(
    tenant: string,
    stream: string,
    { workflow }: Area,
    { again = false }: { readonly again?: boolean } = {},
  ): Promise<'running' | 'over'> {
    if (workflow === undefined) throw new Error(`no workflow runs for the stream ${stream}`)
    const id = stream.slice(stream.indexOf('/') + 1)
    try {
      await this.temporal.withDeadline(
        () =>
          this.temporal.client.workflow.start(workflow.name, {
            workflowId: this.idOf(tenant, stream),
            taskQueue: this.taskQueue,
            args: [workflow.input(tenant, id)],
            workflowIdReusePolicy: again ? 'ALLOW_DUPLICATE' : 'ALLOW_DUPLICATE_FAILED_ONLY',
            workflowIdConflictPolicy: 'USE_EXISTING',
          }),
        this.timeoutMs,
      )
      return 'running'
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return 'over'
      throw error
    }
  }

  /** @returns whether there was one to tell */
  async nudge(tenant: string, stream: string): Promise<boolean> {
    try {
      const handle = this.temporal.client.workflow.getHandle(this.idOf(tenant, stream))
      await this.temporal.withDeadline(() => handle.signal(NUDGE), this.timeoutMs)
      return true
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false
      throw error
    }
  }
}
