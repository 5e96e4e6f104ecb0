import { constants, type ServerHttp2Stream } from 'node:http2';
import { Metadata, ServerInterceptingCall, type ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { Fault } from '../../domain/faults.ts';
import { SECOND } from '../../domain/time.ts';
import type { Clock } from '../../ports/runtime.ts';
import { type Endpoint, messageTooLarge } from '../endpoint.ts';
import { CLIENT_HEADER, DEGRADED_HEADER, type Listener, REQUEST_ID_HEADER } from '../identity.ts';
import { endFault, type LiveCall } from '../live-call.ts';
import type { Pipeline, UnarySink } from '../pipeline.ts';
import type { Pump, StreamSink } from '../pump.ts';
import { RequestStream } from './request-stream.ts';
import { grpcStatus, OK_STATUS, toBuffer } from './status.ts';
import type { Arrival } from './stream-gate.ts';

export interface GrpcCallHost {
  readonly pipeline: Pipeline;
  readonly listener: Listener;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
}

/** Messages of one stream that may wait to be written. */
const WRITE_WINDOW = 8;
/** How long a peer has to close its side, or to read the rest, after the final status. */
const LINGER_MS = SECOND;

/** What grpc-js answers to a message over its limit: RESOURCE_EXHAUSTED. Its other findings are broken connections. */
const TOO_LARGE = 8;

const ignore = () => {};

/**
 * One call of a grpc-js server, taken over at its interceptor: the listener that grpc-js offers is left alone and the call
 * below is driven directly, which saves the stream objects that grpc-js makes for each call.
 */
export class GrpcCall extends ServerInterceptingCall implements UnarySink, StreamSink {
  protected readonly host: GrpcCallHost;
  protected readonly endpoint: Endpoint;
  protected readonly live: LiveCall;
  protected readonly below: ServerInterceptingCallInterface;
  protected pump: Pump | undefined;
  protected halfClosed = false;
  readonly #arrival: Arrival;
  readonly #sendStatus: ServerInterceptingCallInterface['sendStatus'];
  #request: Uint8Array | undefined;
  #unwritten = 0;
  #headersSent = false;

  constructor(below: ServerInterceptingCallInterface, arrival: Arrival, endpoint: Endpoint, host: GrpcCallHost) {
    super(below);
    this.below = below;
    this.host = host;
    this.endpoint = endpoint;
    this.#arrival = arrival;
    this.live = host.pipeline.open(endpoint, 'grpc', host.listener);
    this.live.onEnd = (cause) => this.fail(endFault(cause));
    // A status that grpc-js finds on its own goes the same way as ours, so that it has the same details and metrics.
    this.#sendStatus = below.sendStatus;
    below.sendStatus = (status) => this.#foundBelow(status.code);
  }

  override start(): void {
    this.below.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    const { pipeline, listener } = this.host;
    const [client] = metadata.get(CLIENT_HEADER);
    try {
      pipeline.admit(
        this.live,
        listener,
        client as string | undefined,
        this.#arrival.authorization,
        this.#arrival.timeoutMs,
        metadata.get(REQUEST_ID_HEADER)[0] as string | undefined,
      );
    } catch (thrown) {
      this.fail(pipeline.toFault(this.live, thrown));
      return;
    }
    this.admitted();
  }

  /** The headers are fine: ask for the request. */
  protected admitted(): void {
    this.below.startRead();
  }

  onReceiveMessage(bytes: Uint8Array): void {
    if (this.live.settled) return;
    if (this.#request) {
      this.fail(new Fault('invalid', 'STREAM_ORDER', 'this method takes one request message; a second one came'));
      return;
    }
    this.#request = bytes;
    this.live.received = true;
    this.below.startRead();
  }

  onReceiveHalfClose(): void {
    this.halfClosed = true;
    if (this.live.settled || this.gone()) return;
    const { pipeline } = this.host;
    let request: object;
    try {
      if (!this.#request) throw new Fault('invalid', 'STREAM_ORDER', 'the request message is missing');
      request = pipeline.receive(this.live, this.#request);
    } catch (thrown) {
      this.fail(pipeline.toFault(this.live, thrown));
      return;
    }
    if (this.endpoint.kind === 'unary') pipeline.serveUnary(this.live, request, this);
    else this.pump = pipeline.serveStream(this.live, request, this);
  }

  /** A broken stream also ends for its reader; that is no half-close. */
  protected gone(): boolean {
    const { stream } = this.#arrival;
    if (!stream.closed && !stream.destroyed) return false;
    this.onCancel();
    return true;
  }

  /** Comes after every call; ours are settled by then unless the caller went away. */
  onCancel(): void {
    if (this.live.settled) return;
    this.live.end('cancelled');
    this.fail(endFault('cancelled'));
  }

  reply(message: unknown): void {
    let bytes: Buffer;
    try {
      bytes = toBuffer(this.endpoint.encode(message));
    } catch (thrown) {
      this.fail(this.host.pipeline.toFault(this.live, thrown));
      return;
    }
    this.host.pipeline.settle(this.live);
    this.#sendHeaders();
    this.below.sendMessage(bytes, ignore);
    this.#sendStatus.call(this.below, OK_STATUS);
  }

  send(message: unknown): boolean {
    const bytes = toBuffer(this.endpoint.encode(message));
    this.#unwritten += 1;
    this.#sendHeaders();
    this.below.sendMessage(bytes, this.#written);
    return this.#unwritten < WRITE_WINDOW;
  }

  finish(): void {
    if (this.live.settled) return;
    this.host.pipeline.settle(this.live);
    this.closed();
    this.#sendStatus.call(this.below, OK_STATUS);
    this.#linger();
  }

  fail(fault: Fault): void {
    if (this.live.settled) return;
    this.host.pipeline.settle(this.live, fault);
    this.live.release();
    this.closed(fault);
    const status = this.#headersSent
      ? grpcStatus(fault)
      : grpcStatus(fault, this.live.caller.correlationId, this.host.pipeline.degraded);
    this.#sendStatus.call(this.below, status);
    this.#linger();
  }

  #sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    const headers = new Metadata();
    headers.set(REQUEST_ID_HEADER, this.live.caller.correlationId);
    const { degraded } = this.host.pipeline;
    if (degraded !== '') headers.set(DEGRADED_HEADER, degraded);
    this.below.sendMetadata(headers);
  }

  /** The final status is decided. */
  protected closed(_fault?: Fault): void {}

  readonly #written = (): void => {
    this.#unwritten -= 1;
    this.pump?.room();
  };

  #foundBelow(code: number | undefined): void {
    const fault = code === TOO_LARGE ? messageTooLarge(this.host.maxMessageBytes) : endFault('cancelled');
    if (this.pump) this.pump.abort(fault);
    this.fail(fault);
  }

  /** A peer that neither reads the rest nor closes its side must not keep the stream. */
  #linger(): void {
    if (this.halfClosed && this.#unwritten === 0) return;
    const { stream } = this.#arrival;
    this.host.clock.schedule(LINGER_MS, () => closeStream(stream));
  }
}

/** A call whose request is a stream of messages. */
export class GrpcBidiCall extends GrpcCall {
  readonly #requests = new RequestStream(() => this.#read());

  protected override admitted(): void {
    this.below.startRead();
    // The handler begins with the headers, as it may speak first.
    this.pump = this.host.pipeline.serveStream(this.live, this.#requests, this);
  }

  override onReceiveMessage(bytes: Uint8Array): void {
    if (this.live.settled) return;
    let message: object;
    try {
      message = this.host.pipeline.receive(this.live, bytes);
    } catch (thrown) {
      this.#abort(this.host.pipeline.toFault(this.live, thrown));
      return;
    }
    this.#requests.push(message);
  }

  override onReceiveHalfClose(): void {
    this.halfClosed = true;
    if (this.gone()) return;
    this.live.received = true;
    this.#requests.close();
  }

  protected override closed(fault?: Fault): void {
    if (fault) this.#requests.fail(fault);
    else this.#requests.close();
  }

  #abort(fault: Fault): void {
    this.pump?.abort(fault);
    this.fail(fault);
  }

  #read(): void {
    if (!this.live.settled) this.below.startRead();
  }
}

function closeStream(stream: ServerHttp2Stream): void {
  if (stream.destroyed) return;
  stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_ENHANCE_YOUR_CALM);
}
