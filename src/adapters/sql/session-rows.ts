import type { Device, EndReason, Session, SessionRisk } from '#src/domain/session.ts';
import type { EpochMs } from '#src/domain/time.ts';
import type { Binding, SecretBox } from '#src/ports/runtime.ts';
import { inBatches, paramsOf } from './batches.ts';
import type { Row, SqlValue, Tx } from './executor.ts';
import { bytes, json, optionalText, optionalWhole, orNull, present, text, whole } from './row.ts';

/** Which sessions to end. */
export interface EndRows {
  readonly realm: string;
  readonly ids: readonly string[];
  readonly reason: EndReason;
  readonly now: EpochMs;
  /** Only those past their absolute or idle limit. */
  readonly lapsed?: boolean;
  /** Only those of this person. */
  readonly subject?: string | undefined;
}

/** Reading and writing sessions. The device record (address, agent, place) is personal, so it is sealed to its row. */
export class SessionRows {
  readonly #secrets: SecretBox;

  constructor(secrets: SecretBox) {
    this.#secrets = secrets;
  }

  /** `where` begins after WHERE and may go on with ORDER BY and LIMIT. */
  async select(reader: Pick<Tx, 'all'>, where: string, ...params: readonly SqlValue[]): Promise<readonly Session[]> {
    const rows = await reader.all(`SELECT * FROM sessions WHERE ${where}`, ...params);
    return rows.map((row) => this.sessionOf(row));
  }

  async insert(tx: Tx, session: Session): Promise<void> {
    await tx.run(
      `INSERT INTO sessions (
         id, realm, subject, token_digest, sealed_device, amr, acr, mfa_at, created_at, last_used_at, expires_at,
         idle_ms, labels, risk_changes, step_up_required
       ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
      session.id,
      session.realm,
      session.subject,
      session.tokenDigest,
      this.#seal(session),
      JSON.stringify(session.amr),
      session.acr,
      orNull(session.mfaAt),
      session.createdAt,
      session.lastUsedAt,
      session.expiresAt,
      session.idleMs,
      JSON.stringify(session.labels),
      ...riskColumns(session.risk),
    );
  }

  /** Writes what may change while a session lives. False if it has ended or its token is not `tokenDigest`. */
  async update(tx: Tx, session: Session, tokenDigest: string): Promise<boolean> {
    const updated = await tx.run(
      `UPDATE sessions
       SET token_digest = $3, sealed_device = $4, amr = $5, acr = $6, mfa_at = $7, last_used_at = $8, labels = $9,
           risk_changes = $10, step_up_required = $11
       WHERE id = $1 AND realm = $2 AND token_digest = $12 AND ended_at IS NULL`,
      session.id,
      session.realm,
      session.tokenDigest,
      this.#seal(session),
      JSON.stringify(session.amr),
      session.acr,
      orNull(session.mfaAt),
      session.lastUsedAt,
      JSON.stringify(session.labels),
      ...riskColumns(session.risk),
      tokenDigest,
    );
    return updated === 1;
  }

  sessionOf(row: Row): Session {
    const [id, realm, subject] = [text(row, 'id'), text(row, 'realm'), text(row, 'subject')];
    const device = this.#secrets.open(bytes(row, 'sealed_device'), bindingOf(realm, subject, id));
    return {
      id,
      realm,
      subject,
      tokenDigest: text(row, 'token_digest'),
      device: JSON.parse(Buffer.from(device).toString('utf8')) as Device,
      amr: json(row, 'amr') as string[],
      acr: text(row, 'acr'),
      createdAt: whole(row, 'created_at'),
      lastUsedAt: whole(row, 'last_used_at'),
      expiresAt: whole(row, 'expires_at'),
      idleMs: whole(row, 'idle_ms'),
      labels: json(row, 'labels') as Record<string, string>,
      ...present({
        risk: riskOf(row),
        mfaAt: optionalWhole(row, 'mfa_at'),
        endedAt: optionalWhole(row, 'ended_at'),
        endReason: optionalText(row, 'end_reason') as EndReason | undefined,
      }),
    };
  }

  /** Whose session it is. */
  async subjectOf(tx: Tx, realm: string, sessionId: string): Promise<string | undefined> {
    const [row] = await tx.all('SELECT subject FROM sessions WHERE id = $1 AND realm = $2', sessionId, realm);
    return row && text(row, 'subject');
  }

  /**
   * Marks those sessions ended that are not, and that the guards hold for; answers them in the order of `ids`. Rows are
   * taken in the order of their ids, so that two units never wait for one another.
   */
  async end(tx: Tx, { realm, ids, reason, now, ...guards }: EndRows): Promise<readonly Session[]> {
    const ended = new Map<string, Session>();
    for (const batch of inBatches([...new Set(ids)].toSorted())) {
      const rows = await tx.all(
        `UPDATE sessions SET ended_at = $2, end_reason = $3
         WHERE realm = $1 AND id IN (${paramsOf(batch.length, 4)}) AND ended_at IS NULL
           ${guards.lapsed ? 'AND lapses_at <= $2' : ''}
           ${guards.subject === undefined ? '' : `AND subject = $${batch.length + 4}`}
         RETURNING *`,
        realm,
        now,
        reason,
        ...batch,
        ...(guards.subject === undefined ? [] : [guards.subject]),
      );
      for (const row of rows) ended.set(text(row, 'id'), this.sessionOf(row));
    }
    return ids.flatMap((id) => {
      const session = ended.get(id);
      ended.delete(id);
      return session ? [session] : [];
    });
  }

  #seal(session: Session): Uint8Array {
    const device = Buffer.from(JSON.stringify(session.device), 'utf8');
    return this.#secrets.seal(device, bindingOf(session.realm, session.subject, session.id));
  }
}

function riskOf(row: Row): SessionRisk | undefined {
  if (row['risk_changes'] === null) return undefined;
  return { stepUpRequired: whole(row, 'step_up_required') === 1, changes: json(row, 'risk_changes') as string[] };
}

function riskColumns(risk: SessionRisk | undefined): readonly [string | null, 0 | 1] {
  return risk ? [JSON.stringify(risk.changes), risk.stepUpRequired ? 1 : 0] : [null, 0];
}

function bindingOf(realm: string, subject: string, id: string): Binding {
  return { purpose: 'session.device', realm, subject, id };
}
