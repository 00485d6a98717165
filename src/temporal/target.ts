import { loadClientConnectConfig } from '@temporalio/envconfig'
import type { NativeConnectionOptions } from '@temporalio/worker'
import { temporalVariables, type Config } from '../config.js'
import { DomainError, messageOf } from '../errors.js'

/** A Temporal to talk to: where it is, how to get in, and which of its namespaces is ours. */
export interface TemporalTarget {
  /** `host:port` */
  readonly address: string
  readonly namespace: string
  /** Absent for a server of this machine. */
  readonly access?: Pick<NativeConnectionOptions, 'tls' | 'apiKey' | 'metadata'>
}

/**
 * The Temporal that TEMPORAL_ADDRESS names, with TLS, API key and headers from the other TEMPORAL_* variables, as every
 * Temporal tool reads them. A configuration file is read only where TEMPORAL_CONFIG_FILE or TEMPORAL_PROFILE asks for it:
 * one that lies about may hold another cluster's credentials.
 * @returns undefined when TEMPORAL_ADDRESS is not set
 * @throws DomainError CONFIG_INVALID
 */
export function configuredTemporal(
  { temporalAddress: address, temporalNamespace }: Pick<Config, 'temporalAddress' | 'temporalNamespace'>,
  variables = temporalVariables(),
): TemporalTarget | undefined {
  if (address === undefined) return undefined
  const { TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: profile, TEMPORAL_NAMESPACE: ours } = variables
  try {
    const { connectionOptions, namespace } = loadClientConnectConfig({
      overrideEnvVars: { ...variables },
      disableFile: file === undefined && profile === undefined,
    })
    const { tls, apiKey, metadata } = connectionOptions
    const access = {
      ...(tls !== undefined && { tls }),
      ...(apiKey !== undefined && { apiKey }),
      ...(metadata !== undefined && { metadata }),
    }
    // A profile's namespace stands where no variable names one.
    const named = (ours === undefined ? namespace : undefined) ?? temporalNamespace
    return { address, namespace: named, ...(Object.keys(access).length > 0 && { access }) }
  } catch (error) {
    throw new DomainError('CONFIG_INVALID', `the TEMPORAL_* variables cannot be used: ${messageOf(error)}`)
  }
}
