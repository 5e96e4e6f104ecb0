import type { bundleBareServers } from './bare.ts';
import type { Row } from './row.ts';

/** What a measurement gets. */
export interface Context {
  /** Fewer rounds and smaller numbers: to see that everything runs, not to publish. */
  readonly quick: boolean;
  /** The path of a bare server, bundled. */
  readonly bare: Awaited<ReturnType<typeof bundleBareServers>>;
  /** Tells how it goes. */
  readonly note: (text: string) => void;
}

/** Measures some rows that belong together. */
export interface Measurement {
  readonly name: string;
  readonly measure: (context: Context) => Promise<readonly Row[]>;
}
