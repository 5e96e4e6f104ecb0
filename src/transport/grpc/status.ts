import { Metadata } from '@grpc/grpc-js';
import type { Fault } from '../../domain/faults.ts';
import { statusBytes, toWireError, type WireError } from '../errors.ts';
import { DEGRADED_HEADER, REQUEST_ID_HEADER } from '../identity.ts';

const DETAILS = 'grpc-status-details-bin';

export interface GrpcStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata | null;
}

export const OK_STATUS: GrpcStatus = { code: 0, details: '', metadata: null };

export function statusDetails(error: WireError): Buffer {
  return toBuffer(statusBytes(error));
}

/** `requestId` and `degraded` go with it where no headers went before. */
export function grpcStatus(fault: Fault, requestId = '', degraded = ''): GrpcStatus {
  const error = toWireError(fault);
  const metadata = new Metadata();
  metadata.set(DETAILS, statusDetails(error));
  if (requestId !== '') metadata.set(REQUEST_ID_HEADER, requestId);
  if (degraded !== '') metadata.set(DEGRADED_HEADER, degraded);
  return { code: error.code, details: error.message, metadata };
}

/** grpc-js takes Buffers only; this one shares the bytes. */
export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Percent-encoding of `grpc-message` (gRPC over HTTP/2, Status-Message). */
export function encodeGrpcMessage(message: string): string {
  return encodeURIComponent(message).replaceAll('%20', ' ');
}
