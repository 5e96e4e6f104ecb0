import { invalidFields } from '#src/domain/faults.ts';
import type { Method as DomainMethod } from '#src/domain/method.ts';
import type { Method } from '#src/gen/sallyport/v1/common_pb.js';
import type { PrivacyService } from '#src/gen/sallyport/v1/privacy_pb.js';
import type { PrivacyServices } from '#src/services/privacy/privacy.ts';
import type { Handlers } from '../call.ts';
import { clientFromProto, methodFromProto, type Realms, realmOf } from '../mapping/common.ts';
import { consentToProto } from '../mapping/privacy.ts';

export interface PrivacyHandlerDependencies {
  readonly privacy: PrivacyServices;
  readonly realms: Realms;
}

export function privacyHandlers({ privacy, realms }: PrivacyHandlerDependencies): Handlers<typeof PrivacyService> {
  const { consents, subjectExport, erasure } = privacy;
  return {
    async recordConsent(request, call) {
      const { subject, textVersion, language, requestId } = request;
      const consent = await consents.record(call.caller, {
        realm: realmOf(realms, request.realm),
        subject,
        method: requiredMethod(request.method),
        textVersion,
        language,
        client: clientFromProto(request.client),
        requestId,
      });
      return { consent: consentToProto(consent) };
    },

    async withdrawConsent(request, call) {
      const { subject, requestId } = request;
      const realm = realmOf(realms, request.realm);
      const method = requiredMethod(request.method);
      return { consent: consentToProto(await consents.withdraw(call.caller, { realm, subject, method, requestId })) };
    },

    async listConsents(request) {
      const all = await consents.list(realmOf(realms, request.realm), request.subject);
      return { consents: all.map(consentToProto) };
    },

    async *exportSubject(request, call) {
      const person = { realm: realmOf(realms, request.realm), subject: request.subject };
      for await (const chunk of subjectExport.export(call.caller, person, call.signal)) yield { chunk };
    },

    eraseSubject(request, call) {
      const { subject, reason, requestId } = request;
      return erasure.erase(call.caller, { realm: realmOf(realms, request.realm), subject, reason, requestId });
    },
  };
}

function requiredMethod(method: Method): DomainMethod {
  const known = methodFromProto(method);
  if (known === undefined) throw invalidFields([{ field: 'method', description: 'is required' }]);
  return known;
}
