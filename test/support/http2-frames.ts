import { connect, type Socket } from 'node:net';

/** Frame types of HTTP/2 (RFC 9113 section 6). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;
export const END_STREAM = 1;
export const END_HEADERS = 4;

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One frame as bytes. */
export function http2Frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUIntBE(payload.length, 0, 3);
  bytes.writeUInt8(type, 3);
  bytes.writeUInt8(flags, 4);
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

/** Header fields as HPACK literals without indexing or Huffman coding (RFC 7541 section 6.2.2); repeats stay repeats. */
export function hpack(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), hpackText(name), hpackText(value)]));
}

function hpackText(text: string): Buffer {
  const bytes = Buffer.from(text, 'utf8');
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) length.push(rest);
  else {
    length.push(127);
    for (rest -= 127; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return Buffer.concat([Buffer.from(length), bytes]);
}

/** The header fields of a gRPC call. */
export function callFields(
  path: string,
  extra: readonly (readonly [string, string])[] = [],
): readonly (readonly [string, string])[] {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ['x-sallyport-client', 'frames'],
    ...extra,
  ];
}

/** Speaks HTTP/2 frame by frame, so that it can break any of its rules. */
export class FramePeer implements Disposable {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  /** Resolves when the other side has closed or reset the connection. */
  readonly closed: Promise<void>;
  isClosed = false;
  #rest = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => this.#parse(chunk));
    this.closed = new Promise((resolve) =>
      socket.on('close', () => {
        this.isClosed = true;
        resolve();
      }),
    );
  }

  /** Connects and says the preface with `settings` (6 bytes each); waits for the server's own settings. */
  static async open(port: number, settings: Uint8Array = Buffer.alloc(0)): Promise<FramePeer> {
    const socket = connect({ host: '127.0.0.1', port });
    const peer = new FramePeer(socket);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    socket.write(Buffer.concat([PREFACE, http2Frame(FRAME.SETTINGS, 0, 0, settings)]));
    await peer.until((frame) => frame.type === FRAME.SETTINGS);
    peer.send(FRAME.SETTINGS, 1, 0);
    return peer;
  }

  /** False once the socket's buffer is full, or the connection is gone. */
  send(type: number, flags: number, stream: number, payload?: Uint8Array): boolean {
    return !this.isClosed && this.socket.writable && this.socket.write(http2Frame(type, flags, stream, payload));
  }

  /** Writes in order and waits while the other side takes nothing; stops when the connection is gone. */
  async flood(count: number, bytesOf: (index: number) => Buffer): Promise<number> {
    for (let index = 0; index < count; index += 1) {
      if (this.isClosed || !this.socket.writable) return index;
      if (!this.socket.write(bytesOf(index)) && !(await this.#drained())) return index;
    }
    return count;
  }

  async until(wanted: (frame: Frame) => boolean, timeoutMs = 15_000): Promise<Frame | undefined> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = this.frames.find(wanted);
      if (found || this.isClosed || Date.now() > deadline) return found;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  #drained(timeoutMs = 2_000): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (drained: boolean) => {
        clearTimeout(timer);
        this.socket.off('drain', onDrain).off('close', onClose);
        resolve(drained);
      };
      const onDrain = () => done(true);
      const onClose = () => done(false);
      const timer = setTimeout(onClose, timeoutMs);
      this.socket.once('drain', onDrain).once('close', onClose);
    });
  }

  #parse(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) return;
      this.frames.push({
        type: this.#rest.readUInt8(3),
        flags: this.#rest.readUInt8(4),
        stream: this.#rest.readUInt32BE(5),
        payload: Buffer.from(this.#rest.subarray(9, 9 + length)),
      });
      this.#rest = this.#rest.subarray(9 + length);
    }
  }
}
