/**
 * Numbers that are counted on hot paths. A cell is bound once per set of labels and is then a plain field: adding to it
 * costs nothing. Metrics libraries look labels up on every call, so they only see the numbers when somebody asks.
 */
export interface Cell {
  value: number;
}

export interface TallyOptions {
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
}

/** Upper bound of label sets per metric; further ones are counted together, so that a mistake cannot fill the memory. */
const MAX_SERIES = 1_000;
const OVERFLOW = '_overflow';

abstract class Family<Child> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  readonly #children = new Map<string, { readonly values: readonly string[]; readonly child: Child }>();

  constructor({ name, help, labels = [] }: TallyOptions) {
    this.name = name;
    this.help = help;
    this.labels = labels;
  }

  /** The child of these label values, in the order of `labels`; the same one every time. */
  bind(...values: readonly string[]): Child {
    if (values.length !== this.labels.length) throw new Error(`${this.name} has ${this.labels.length} labels`);
    const key = values.join('\n');
    const found = this.#children.get(key);
    if (found) return found.child;
    if (this.#children.size >= MAX_SERIES && values.some((value) => value !== OVERFLOW)) {
      return this.bind(...values.map(() => OVERFLOW));
    }
    const child = this.make();
    this.#children.set(key, { values, child });
    return child;
  }

  /** Every child with its labels. */
  series(): readonly { readonly labels: Readonly<Record<string, string>>; readonly child: Child }[] {
    return [...this.#children.values()].map(({ values, child }) => ({
      labels: Object.fromEntries(this.labels.map((label, index) => [label, values[index] ?? ''])),
      child,
    }));
  }

  protected abstract make(): Child;
}

/** A number that only grows. */
export class CounterTally extends Family<Cell> {
  protected override make(): Cell {
    return { value: 0 };
  }
}

/** Observations in buckets. */
export class HistogramTally extends Family<HistogramCell> {
  readonly bounds: readonly number[];

  constructor(options: TallyOptions & { readonly bounds: readonly number[] }) {
    super(options);
    this.bounds = options.bounds;
  }

  protected override make(): HistogramCell {
    return new HistogramCell(this.bounds);
  }
}

export class HistogramCell {
  readonly #bounds: readonly number[];
  /** Per bucket, not cumulative; the last one is over all bounds. */
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] ?? 0)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  /** Cumulative counts by upper bound, as Prometheus wants them. */
  read(): { readonly buckets: readonly (readonly [number, number])[]; readonly count: number; readonly sum: number } {
    let count = 0;
    const buckets = this.#bounds.map((bound, index) => {
      count += this.#counts[index] ?? 0;
      return [bound, count] as const;
    });
    return { buckets, count: count + (this.#counts[this.#bounds.length] ?? 0), sum: this.#sum };
  }
}

/** A number that goes up and down, read when somebody asks. */
export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly kind: 'gauge' | 'counter';
  readonly labels?: Readonly<Record<string, string>>;
  readonly read: () => number;
}
