import { type DescMethod, type DescService, getOption } from '@bufbuild/protobuf';
import type { Role } from '../domain/caller.ts';
import { type DurationMs, MINUTE, SECOND } from '../domain/time.ts';
import { ServerReflection } from '../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ServerReflectionAlpha } from '../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { Health } from '../gen/health/v1/health_pb.js';
import { AdminService } from '../gen/sallyport/v1/admin_pb.js';
import { AuditService } from '../gen/sallyport/v1/audit_pb.js';
import { ChallengeService } from '../gen/sallyport/v1/challenge_pb.js';
import { FactorService } from '../gen/sallyport/v1/factor_pb.js';
import { access, Role as ProtoRole } from '../gen/sallyport/v1/options_pb.js';
import { PrivacyService } from '../gen/sallyport/v1/privacy_pb.js';
import { SessionService } from '../gen/sallyport/v1/session_pb.js';

/** What the transports need to know of an RPC beyond its messages. */
export interface MethodRow {
  /** The longest a unary call may take, whatever the caller asks for. Streams have their own limits: 0. */
  readonly deadlineMs: DurationMs;
  /** Whether a refusal before the handler (caller, role, fields) is an event of the trail; else it is a metric only. */
  readonly refusal: 'event' | 'metric';
  /** How a repeat behaves: `safe` changes nothing, `keyed` answers the first result by request_id, `same` ends the same. */
  readonly repeat: 'safe' | 'keyed' | 'same';
  /** `later`: part of the API, not of this release; answers UNIMPLEMENTED. */
  readonly release: 'now' | 'later';
}

export interface Method extends MethodRow {
  readonly desc: DescMethod;
  /** `/package.Service/Method`. */
  readonly procedure: string;
  /** Any one is enough; from the option `access` in the proto. `open` are the probes and reflection of gRPC itself. */
  readonly access: ReadonlySet<Role> | 'open';
}

/** The services of the API. */
export const API_SERVICES: readonly DescService[] = [
  ChallengeService,
  FactorService,
  SessionService,
  AuditService,
  PrivacyService,
  AdminService,
];

/** Services that come with gRPC: without roles and without the client header, because standard tools call them. */
const OPEN_SERVICES: readonly DescService[] = [Health, ServerReflection, ServerReflectionAlpha];

const UNARY = 10 * SECOND;

const read = (deadlineMs = UNARY): MethodRow => ({ deadlineMs, refusal: 'metric', repeat: 'safe', release: 'now' });
const readByOperator = (deadlineMs = UNARY): MethodRow => ({ ...read(deadlineMs), refusal: 'event' });
const change = (repeat: 'keyed' | 'same'): MethodRow => ({
  deadlineMs: UNARY,
  refusal: 'event',
  repeat,
  release: 'now',
});
const later = (row: MethodRow): MethodRow => ({ ...row, release: 'later' });

/** Every RPC there is. A missing row, or a row without its RPC, stops the process at start. */
const ROWS: Readonly<Record<string, MethodRow>> = {
  'sallyport.v1.ChallengeService/VerifyChallenge': { ...change('keyed'), deadlineMs: 0 },
  'sallyport.v1.ChallengeService/OpenChallenge': change('keyed'),
  'sallyport.v1.ChallengeService/AnswerChallenge': change('keyed'),
  'sallyport.v1.ChallengeService/WatchChallenge': read(0),
  'sallyport.v1.ChallengeService/GetChallenge': read(),
  'sallyport.v1.ChallengeService/CancelChallenge': change('same'),
  'sallyport.v1.ChallengeService/RedeemReceipt': change('keyed'),
  'sallyport.v1.FactorService/ListFactors': read(),
  'sallyport.v1.FactorService/BeginEnrollment': change('keyed'),
  'sallyport.v1.FactorService/ConfirmEnrollment': change('keyed'),
  'sallyport.v1.FactorService/RemoveFactor': change('keyed'),
  'sallyport.v1.FactorService/RegenerateBackupCodes': change('keyed'),
  'sallyport.v1.FactorService/GetMfaStatus': read(),
  'sallyport.v1.FactorService/ListTrustedDevices': read(),
  'sallyport.v1.FactorService/RenameTrustedDevice': change('same'),
  'sallyport.v1.FactorService/RevokeTrustedDevice': change('same'),
  'sallyport.v1.SessionService/CreateSession': change('keyed'),
  'sallyport.v1.SessionService/ValidateSession': read(5 * SECOND),
  'sallyport.v1.SessionService/GetSession': read(),
  'sallyport.v1.SessionService/UpdateSession': change('keyed'),
  'sallyport.v1.SessionService/ListSessions': read(),
  'sallyport.v1.SessionService/RevokeSession': change('same'),
  'sallyport.v1.SessionService/RevokeAllSessions': change('same'),
  'sallyport.v1.SessionService/WatchRevocations': read(0),
  'sallyport.v1.AuditService/QueryEvents': readByOperator(30 * SECOND),
  'sallyport.v1.AuditService/TailEvents': readByOperator(0),
  'sallyport.v1.AuditService/ExportEvents': readByOperator(0),
  'sallyport.v1.AuditService/VerifyChain': readByOperator(5 * MINUTE),
  'sallyport.v1.AuditService/GetBufferStatus': readByOperator(),
  'sallyport.v1.PrivacyService/RecordConsent': change('keyed'),
  'sallyport.v1.PrivacyService/WithdrawConsent': change('keyed'),
  'sallyport.v1.PrivacyService/ListConsents': read(),
  'sallyport.v1.PrivacyService/ExportSubject': { ...change('same'), deadlineMs: 0 },
  'sallyport.v1.PrivacyService/EraseSubject': change('keyed'),
  'sallyport.v1.AdminService/ResetSubject': change('keyed'),
  'sallyport.v1.AdminService/UnlockSubject': change('same'),
  'sallyport.v1.AdminService/CreatePortalLink': later(change('same')),
  'sallyport.v1.AdminService/GetInfo': read(),
  'grpc.health.v1.Health/Check': read(SECOND),
  'grpc.health.v1.Health/Watch': read(0),
  'grpc.health.v1.Health/List': read(SECOND),
  'grpc.reflection.v1.ServerReflection/ServerReflectionInfo': read(0),
  'grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': read(0),
};

const ROLES = new Map<ProtoRole, Role>([
  [ProtoRole.APPLICATION, 'application'],
  [ProtoRole.GATEWAY, 'gateway'],
  [ProtoRole.OPERATOR, 'operator'],
  [ProtoRole.PORTAL, 'portal'],
]);

/** The method table, by procedure. Throws if the rows and the RPCs of the protos are not the same set. */
export function methodTable(rows: Readonly<Record<string, MethodRow>> = ROWS): ReadonlyMap<string, Method> {
  const table = new Map<string, Method>();
  const unused = new Set(Object.keys(rows));
  for (const service of [...API_SERVICES, ...OPEN_SERVICES]) {
    for (const desc of service.methods) {
      const name = `${service.typeName}/${desc.name}`;
      const row = rows[name];
      if (!row) throw new Error(`the method table has no row for ${name}`);
      unused.delete(name);
      const method = { ...row, desc, procedure: `/${name}`, access: accessOf(desc) };
      if ((desc.methodKind === 'unary') !== row.deadlineMs > 0) {
        throw new Error(`the method table must give ${name} a deadline if, and only if, it is unary`);
      }
      table.set(method.procedure, method);
    }
  }
  if (unused.size > 0) throw new Error(`the method table names unknown RPCs: ${[...unused].join(', ')}`);
  return table;
}

/** An RPC that names no role is open to nobody: the empty set. */
export function accessOf(desc: DescMethod): ReadonlySet<Role> | 'open' {
  if (OPEN_SERVICES.includes(desc.parent)) return 'open';
  const roles = new Set<Role>();
  for (const proto of getOption(desc, access).roles) {
    const role = ROLES.get(proto);
    if (!role) throw new Error(`${desc.parent.typeName}/${desc.name} names a role that this release does not know`);
    roles.add(role);
  }
  return roles;
}
