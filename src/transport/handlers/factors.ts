import { invalidFields } from '#src/domain/faults.ts';
import type { FactorService } from '#src/gen/sallyport/v1/factor_pb.js';
import type { Log } from '#src/ports/telemetry.ts';
import type { FactorServices } from '#src/services/factors/factors.ts';
import type { Handlers } from '../call.ts';
import { clientFromProto, type Realms, realmOf } from '../mapping/common.ts';
import {
  beginFromProto,
  begunToProto,
  enrollmentProofFromProto,
  factorToProto,
  qrFormatsFromProto,
  statusToProto,
} from '../mapping/factor.ts';
import type { QrFormat, QrImages, QrRenderer } from '../qr.ts';

export interface FactorHandlerDependencies {
  readonly factors: Pick<FactorServices, 'enrollment' | 'confirmation' | 'changes' | 'status'>;
  readonly qr: Pick<QrRenderer, 'render'>;
  readonly realms: Realms;
  readonly log: Log;
}

export type LaterFactorRpcs = 'listTrustedDevices' | 'renameTrustedDevice' | 'revokeTrustedDevice';

export function factorHandlers(deps: FactorHandlerDependencies): Handlers<typeof FactorService, LaterFactorRpcs> {
  const { factors, realms } = deps;
  return {
    async listFactors(request) {
      const held = await factors.changes.list(realmOf(realms, request.realm), request.subject);
      return { factors: held.map(factorToProto) };
    },

    async beginEnrollment(request, call) {
      const command = beginFromProto(realms, request);
      if (!command) throw invalidFields([{ field: 'method', description: 'is required' }]);
      const begun = await factors.enrollment.begin(call.caller, command);
      const { material } = begun;
      const formats = qrFormatsFromProto(request.qrFormats);
      return begunToProto(begun, material.kind === 'totp' ? await draw(deps, material.keyUri, formats) : {});
    },

    async confirmEnrollment(request, call) {
      const { subject, factorId, requestId } = request;
      const confirmed = await factors.confirmation.confirm(call.caller, {
        realm: realmOf(realms, request.realm),
        subject,
        factorId,
        proof: enrollmentProofFromProto(request),
        client: clientFromProto(request.client),
        requestId,
      });
      return { factor: factorToProto(confirmed.factor), backupCodes: [...confirmed.backupCodes] };
    },

    async removeFactor(request, call) {
      const { subject, factorId, receipt, requestId } = request;
      const realm = realmOf(realms, request.realm);
      const client = clientFromProto(request.client);
      await factors.changes.remove(call.caller, { realm, subject, factorId, receipt, client, requestId });
      return {};
    },

    async regenerateBackupCodes(request, call) {
      const { subject, receipt, requestId } = request;
      const realm = realmOf(realms, request.realm);
      const client = clientFromProto(request.client);
      const command = { realm, subject, receipt, client, requestId };
      const { factor, backupCodes } = await factors.changes.regenerateBackupCodes(call.caller, command);
      return { factor: factorToProto(factor), backupCodes: [...backupCodes] };
    },

    async getMfaStatus(request) {
      return statusToProto(await factors.status(realmOf(realms, request.realm), request.subject));
    },
  };
}

/**
 * The enrolment has begun and its receipt is spent by now, so a picture that cannot be drawn is left out rather than
 * failing the call: the URI and the key are in the answer.
 */
async function draw(
  { qr, log }: FactorHandlerDependencies,
  uri: string,
  formats: readonly QrFormat[],
): Promise<QrImages> {
  try {
    return await qr.render(uri, formats);
  } catch (error) {
    log.warn('a QR code was left out of an answer', { error: String(error) });
    return {};
  }
}
