import { fromBinary } from '@bufbuild/protobuf';
import { ErrorInfoSchema } from '#src/gen/google/rpc/error_details_pb.js';

export interface ConnectAnswer {
  readonly status: number;
  /** Name of the code in the words of Connect; '' on success, and for what is no answer of the protocol. */
  readonly code: string;
  readonly reason: string;
  readonly message: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly text: string;
}

interface ErrorBody {
  readonly code?: string;
  readonly message?: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

/** A unary call by plain fetch; an object goes as JSON, bytes and text go as they are. */
export async function connectCall(
  url: string,
  procedure: string,
  body: object | string | Uint8Array<ArrayBuffer>,
  headers: Readonly<Record<string, string>> = {},
): Promise<ConnectAnswer> {
  const response = await fetch(`${url}/${procedure}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-sallyport-client': 'fetch', ...headers },
    body: typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body),
  });
  return connectAnswer(response.status, await response.text());
}

export function connectAnswer(status: number, text: string): ConnectAnswer {
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Not every refusal speaks the protocol.
  }
  const { code = '', message = '', details = [] } = status === 200 ? {} : (body as ErrorBody);
  const info = details.find(({ type }) => type === 'google.rpc.ErrorInfo');
  const reason = info ? fromBinary(ErrorInfoSchema, Buffer.from(info.value, 'base64')).reason : '';
  return { status, code, reason, message, body, text };
}
