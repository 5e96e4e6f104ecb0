import { type Factor, type FactorSummary, summaryOf } from '#src/domain/factor.ts';
import type { MethodRegistry } from '../methods/registry.ts';

/** A factor as callers may see it, with where it reaches the person, masked. */
export function describeFactor(methods: MethodRegistry, factor: Factor): FactorSummary {
  const mask = methods.mask(factor.method);
  return mask ? { ...summaryOf(factor), maskedNumber: mask(factor) } : summaryOf(factor);
}
