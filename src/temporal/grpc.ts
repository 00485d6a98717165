import { isGrpcServiceError } from '@temporalio/client'

/** Those of gRPC's status codes that mean something to us; the SDK does not hand out their names. */
export const GRPC = {
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  unavailable: 14,
} as const

/** @returns the status with which Temporal, or the way there, answered; undefined for an error of another kind */
export function grpcCode(error: unknown): number | undefined {
  return isGrpcServiceError(error) ? error.code : undefined
}
