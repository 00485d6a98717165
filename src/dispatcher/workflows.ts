import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client'
import { NUDGE } from '../../workflows/messages.js'
import type { Temporal } from '../temporal/connection.js'
import type { Area } from './routes.js'

/** Milliseconds for one call, its retries included. */
const CALL_TIMEOUT_MS = 10_000
/** Calls at a time: more only wait in Temporal, until they are too late. */
const ABREAST = 32

/** Which workflow runs for which stream, and how Temporal is told. */
export class Workflows {
  private readonly temporal: Temporal
  private readonly installation: string
  private readonly taskQueue: string
  private readonly timeoutMs: number
  private free = ABREAST
  private readonly waiting: (() => void)[] = []

  /** @param options.timeoutMs for one call, its retries included */
  constructor(
    temporal: Temporal,
    options: { readonly installation: string; readonly taskQueue: string; readonly timeoutMs?: number },
  ) {
    this.temporal = temporal
    this.installation = options.installation
    this.taskQueue = options.taskQueue
    this.timeoutMs = options.timeoutMs ?? CALL_TIMEOUT_MS
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
      await this.call(() =>
        this.temporal.client.workflow.start(workflow.name, {
          workflowId: this.idOf(tenant, stream),
          taskQueue: this.taskQueue,
          args: [workflow.input(tenant, id)],
          workflowIdReusePolicy: again ? 'ALLOW_DUPLICATE' : 'ALLOW_DUPLICATE_FAILED_ONLY',
          workflowIdConflictPolicy: 'USE_EXISTING',
        }),
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
      await this.call(() => handle.signal(NUDGE))
      return true
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false
      throw error
    }
  }

  /** Takes its turn, and has to be answered in time from then on. */
  private async call<T>(work: () => Promise<T>): Promise<T> {
    if (this.free > 0) this.free--
    else await new Promise<void>((resolve) => this.waiting.push(resolve))
    try {
      return await this.temporal.withDeadline(work, this.timeoutMs)
    } finally {
      const next = this.waiting.shift()
      if (next) next()
      else this.free++
    }
  }
}
