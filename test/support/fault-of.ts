import { Fault } from '#src/domain/faults.ts';

/** The fault that the work ends with; anything else fails the test. */
export async function faultOf(work: Promise<unknown>): Promise<Fault> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (thrown instanceof Fault) return thrown;
  throw new Error('expected a fault', { cause: thrown });
}
