import type { TcpProxy, Watcher } from './tcp-proxy.ts';

const COMMAND_COMPLETE = 'C'.charCodeAt(0);
const HEADER_BYTES = 5;

/**
 * Reads the server's side of one PostgreSQL connection without TLS (Frontend/Backend Protocol 3.0, message formats) and
 * calls with the tag of every CommandComplete, before the client sees it.
 */
export function commandTags(onTag: (tag: string) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const length = 1 + rest.readUInt32BE(1);
      if (rest.length < length) return;
      if (rest[0] === COMMAND_COMPLETE) onTag(rest.toString('latin1', HEADER_BYTES, length - 1));
      rest = rest.subarray(length);
    }
  };
}

/** The next replies to COMMIT that get lost. */
export interface LostCommits {
  /** How many were lost so far. */
  readonly lost: number;
  /** From now on this many replies to COMMIT are lost, each with its connection; 0 for none. */
  lose(count: number): void;
}

/**
 * Makes a proxy in front of PostgreSQL cut a connection when the server has committed and said so, and the client has
 * not heard it. Sees connections opened after this call.
 */
export function losingCommits(proxy: TcpProxy): LostCommits {
  let left = 0;
  let lost = 0;
  proxy.watchServer((): Watcher => {
    let cut = false;
    const read = commandTags((tag) => {
      if (tag !== 'COMMIT' || cut || left === 0) return;
      cut = true;
      left -= 1;
      lost += 1;
    });
    return (chunk) => {
      read(chunk);
      return cut ? 'cut' : 'forward';
    };
  });
  return {
    get lost() {
      return lost;
    },
    lose(count) {
      left = count;
    },
  };
}
