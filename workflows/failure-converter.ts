import { DefaultFailureConverter } from '@temporalio/common'

/**
 * Messages and stacks of failures travel as a payload, so that the codec which encrypts payloads covers them too. Loaded
 * by its path, in the sandbox and outside of it.
 */
export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true })
