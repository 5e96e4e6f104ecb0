import type { EventDraft } from '#src/domain/audit-event.ts';
import type { Caller } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Trail } from '../trail.ts';
import { eventFields } from './challenge-endings.ts';
import type { ProofVerdict } from './proof.ts';

type Right = Extract<ProofVerdict, { readonly outcome: 'right' }>;

/** What is recorded with an approval. */
export function approvalEvents(
  trail: Trail,
  caller: Caller,
  challenge: Challenge,
  verdict: Right,
): readonly EventDraft[] {
  const { method, factorId } = verdict;
  const fields = { ...eventFields(challenge), outcome: 'SUCCESS', method, factorId } as const;
  const facts = { purpose: challenge.purpose, action: challenge.action.action };
  const events = [trail.draft('challenge.approved', caller, { ...fields, reason: 'PROOF', facts })];
  if (verdict.claim.kind === 'backup_code') events.push(trail.draft('backup_code.used', caller, fields));
  if (verdict.resynchronized) events.push(trail.draft('factor.resynchronized', caller, fields));
  return events;
}

/**
 * What a right proof says that could not be claimed any more. For a security key: between the look at it and the claim
 * another assertion was approved whose counter is as high.
 */
export function lostRaceEvents(
  trail: Trail,
  caller: Caller,
  challenge: Challenge,
  { claim, method, factorId }: Right,
): readonly EventDraft[] {
  if (claim.kind !== 'webauthn') return [];
  const facts = { shown: String(claim.signCount) };
  const fields = { ...eventFields(challenge), outcome: 'REFUSED', reason: 'COUNTER', method, factorId, facts } as const;
  return [trail.draft('factor.counter_regressed', caller, fields)];
}
