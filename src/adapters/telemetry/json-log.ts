import { destination, type Logger, pino, stdTimeFunctions } from 'pino';
import type { Log } from '../../ports/telemetry.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface JsonLogOptions {
  readonly level: LogLevel;
  /** Where lines go; standard error if absent, because standard output belongs to the command. */
  readonly write?: (line: string) => void;
}

/**
 * Names of fields whose values never reach the log, at any depth that is looked at. No caller means to log them: this is
 * the second door.
 */
const SECRET_NAMES =
  /^(authorization|cookie|password|passwd|pin|otp|secret|seed|token|receipt|code|codes|proof|next_?code|manual_?key|key_?uri|private_?key|phone(_?number)?|auth_?token|.*_(token|secret|password)|.*(Token|Secret|Password))$/i;
const REDACTED = '[redacted]';
const MAX_DEPTH = 4;
const MAX_TEXT = 4_096;

/** One JSON object per line: `level`, `time` (RFC 3339), `msg` and the fields. */
export class JsonLog implements Log {
  readonly #pino: Logger;

  constructor({ level, write }: JsonLogOptions) {
    this.#pino = pino(
      {
        level,
        base: null,
        timestamp: stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      // Synchronous: the last line before a crash is the one that matters.
      write ? { write } : destination({ fd: 2, sync: true }),
    );
  }

  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (this.#pino.isLevelEnabled('debug')) this.#pino.debug(redact(fields), message);
  }

  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (this.#pino.isLevelEnabled('info')) this.#pino.info(redact(fields), message);
  }

  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (this.#pino.isLevelEnabled('warn')) this.#pino.warn(redact(fields), message);
  }

  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    if (this.#pino.isLevelEnabled('error')) this.#pino.error(redact(fields), message);
  }
}

function redact(fields: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return redactObject(fields, 0);
}

function redactObject(value: object, depth: number): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [name, SECRET_NAMES.test(name) ? REDACTED : plain(one, depth + 1)]),
  );
}

/** What JSON can carry, bounded in depth and length. */
function plain(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}…`;
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) return plain(value.stack ?? value.message, depth);
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (typeof value !== 'object' || value === null) return typeof value === 'function' ? undefined : value;
  if (depth >= MAX_DEPTH) return '[…]';
  if (Array.isArray(value)) return value.slice(0, 32).map((one) => plain(one, depth + 1));
  return redactObject(value, depth);
}
