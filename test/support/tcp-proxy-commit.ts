import type { TcpProxy, Watcher } from './tcp-proxy.ts';

const COMMAND_COMPLETE = 'C'.charCodeAt(0);
const PARAMETER_STATUS = 'S'.charCodeAt(0);
const HEADER_BYTES = 5;

/**
 * Reads the server's side of one PostgreSQL connection without TLS (Frontend/Backend Protocol 3.0, message formats) and
 * calls with the tag of every CommandComplete, before the client sees it; `onRole` with the role that has logged in.
 */
export function commandTags(onTag: (tag: string) => void, onRole?: (role: string) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= HEADER_BYTES) {
      const length = 1 + rest.readUInt32BE(1);
      if (rest.length < length) return;
      if (rest[0] === COMMAND_COMPLETE) onTag(rest.toString('latin1', HEADER_BYTES, length - 1));
      else if (rest[0] === PARAMETER_STATUS && onRole) {
        const [name, value = ''] = rest.toString('latin1', HEADER_BYTES, length - 1).split('\0');
        if (name === 'session_authorization') onRole(value);
      }
      rest = rest.subarray(length);
    }
  };
}

/** The next replies to COMMIT that get lost. */
export interface LostCommits {
  /** How many were lost so far. */
  readonly lost: number;
  /** How many of them were of this role. */
  lostBy(role: string): number;
  /** From now on this many replies to COMMIT are lost, each with its connection; 0 for none. */
  lose(count: number): void;
}

/**
 * Makes a proxy in front of PostgreSQL cut a connection when the server has committed and said so, and the client has
 * not heard it. Sees connections opened after this call.
 */
export function losingCommits(proxy: TcpProxy): LostCommits {
  let left = 0;
  const lost = new Map<string, number>();
  const total = () => [...lost.values()].reduce((sum, count) => sum + count, 0);
  proxy.watchServer((): Watcher => {
    let cut = false;
    let role = '';
    const read = commandTags(
      (tag) => {
        if (tag !== 'COMMIT' || cut || left === 0) return;
        cut = true;
        left -= 1;
        lost.set(role, (lost.get(role) ?? 0) + 1);
      },
      (name) => {
        role = name;
      },
    );
    return (chunk) => {
      read(chunk);
      return cut ? 'cut' : 'forward';
    };
  });
  return {
    get lost() {
      return total();
    },
    lostBy(role) {
      return lost.get(role) ?? 0;
    },
    lose(count) {
      left = count;
    },
  };
}
