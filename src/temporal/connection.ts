import { Client, Connection } from '@temporalio/client'
import { dataConverter } from './data-converter.js'
import { GRPC, grpcCode } from './grpc.js'
import { retries } from './retries.js'
import type { TemporalTarget } from './target.js'

/** Milliseconds for one call, its retries included. */
const CALL_TIMEOUT_MS = 5_000

/** A client of one Temporal. Making it reaches nothing: each call connects where it has to. */
export interface Temporal {
  readonly target: TemporalTarget
  readonly client: Client
  readonly connection: Connection
  /** Runs calls that all have to be answered within `timeoutMs`, by default 5,000. */
  withDeadline<T>(work: () => Promise<T>, timeoutMs?: number): Promise<T>
  close(): Promise<void>
}

export function openTemporal(target: TemporalTarget): Temporal {
  const { address, namespace, access } = target
  const retrying = retries()
  const connection = Connection.lazy({
    address,
    ...clientAccess(access),
    connectTimeout: CALL_TIMEOUT_MS,
    // gRPC's own pause between two tries grows to two minutes: a Temporal that is back would not be noticed.
    channelArgs: { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 2_000 },
    interceptors: [retrying.interceptor],
  })
  return {
    target,
    connection,
    client: new Client({ connection, namespace, dataConverter: dataConverter() }),
    withDeadline: (work, timeoutMs = CALL_TIMEOUT_MS) => connection.withDeadline(Date.now() + timeoutMs, work),
    async close() {
      await retrying.settle()
      await connection.close()
    },
  }
}

/** The two connections of the SDK say the same in slightly different types. */
function clientAccess(access: TemporalTarget['access']) {
  if (access === undefined) return {}
  const { tls, apiKey, metadata } = access
  return {
    ...(tls !== undefined && { tls }),
    ...(apiKey !== undefined && { apiKey }),
    ...(metadata !== undefined && { metadata: metadata as Record<string, string> }),
  }
}

/**
 * The namespace as this Temporal knows it. Its id differs in every database of Temporal: another id means that nothing of
 * what was started before is there. Also the proof of health: connecting alone succeeds where no Temporal listens.
 * @returns undefined when this Temporal has no such namespace
 * @throws ServiceError when Temporal does not answer in time
 */
export async function namespaceOf(temporal: Temporal, timeoutMs?: number): Promise<{ id: string } | undefined> {
  const { namespace } = temporal.target
  try {
    const { namespaceInfo } = await temporal.withDeadline(
      () => temporal.connection.workflowService.describeNamespace({ namespace }),
      timeoutMs,
    )
    return namespaceInfo?.id ? { id: namespaceInfo.id } : undefined
  } catch (error) {
    if (grpcCode(error) === GRPC.notFound) return undefined
    throw error
  }
}
