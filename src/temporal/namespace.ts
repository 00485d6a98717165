import { msToTs } from '@temporalio/common/lib/time.js'
import { namespaceOf, type Temporal } from './connection.js'
import { GRPC, grpcCode } from './grpc.js'

/** How long a closed workflow stays readable in Temporal; what it did is in the log for good. */
const RETENTION = '30 days'

/**
 * Makes our namespace where this Temporal lacks it. Temporal Cloud makes namespaces by its own means and refuses.
 * @throws ServiceError when Temporal does not answer or does not let us
 */
export async function ensureNamespace(temporal: Temporal): Promise<void> {
  if ((await namespaceOf(temporal)) !== undefined) return
  try {
    await temporal.withDeadline(() =>
      temporal.connection.workflowService.registerNamespace({
        namespace: temporal.target.namespace,
        description: 'Countersign',
        workflowExecutionRetentionPeriod: msToTs(RETENTION),
      }),
    )
  } catch (error) {
    if (grpcCode(error) !== GRPC.alreadyExists) throw error
  }
}
