import type { Consent } from '#src/domain/factor.ts';
import type { ConsentStore } from '#src/ports/consent-store.ts';
import { consentOf, insertConsent, withdrawStanding } from './consent-rows.ts';
import type { SqlExecutor } from './executor.ts';
import { freezeFactors, thawFactors } from './factor-freezes.ts';
import { deletePending } from './factor-rows.ts';
import { repeatOf, storeClaim } from './request-claims.ts';

export class SqlConsentStore implements ConsentStore {
  readonly #sql: SqlExecutor;

  constructor(sql: SqlExecutor) {
    this.#sql = sql;
  }

  record(command: Parameters<ConsentStore['record']>[0]): ReturnType<ConsentStore['record']> {
    const { realm, subject, consent, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      await insertConsent(tx, realm, subject, consent);
      const frozen = { realm, subject, methods: [consent.method], reason: 'CONSENT_WITHDRAWN' } as const;
      const thawed = await thawFactors(tx, frozen);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      if (thawed > 0) tx.record(...command.thawedEvents);
      return { outcome: 'recorded', thawed };
    });
  }

  withdraw(command: Parameters<ConsentStore['withdraw']>[0]): ReturnType<ConsentStore['withdraw']> {
    const { realm, subject, method, now, request } = command;
    return this.#sql.unit(async (tx) => {
      await tx.alone(realm, subject);
      const repeat = await repeatOf(tx, request, now);
      if (repeat) return repeat;
      const consent = await withdrawStanding(tx, realm, subject, method, now);
      if (!consent) return { outcome: 'none' };
      const frozen = await freezeFactors(tx, { realm, subject, methods: [method], reason: 'CONSENT_WITHDRAWN' });
      await deletePending(tx, realm, subject, (pending) => pending === method);
      await storeClaim(tx, request, now);
      tx.record(...command.events);
      if (frozen > 0) tx.record(...command.frozenEvents);
      return { outcome: 'withdrawn', consent, frozen };
    });
  }

  async list(realm: string, subject: string): Promise<readonly Consent[]> {
    const rows = await this.#sql.read(
      'SELECT * FROM consents WHERE realm = $1 AND subject = $2 ORDER BY granted_at, id',
      realm,
      subject,
    );
    return rows.map(consentOf);
  }
}
