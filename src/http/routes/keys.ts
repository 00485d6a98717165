import { Type } from 'typebox'
import { DomainError } from '../../errors.js'
import { publicKeysOf, type PublicKeyHistory } from '../../keyring/signing-keys.js'
import { At, publicProblems } from '../schemas.js'
import type { App, ServerDeps } from '../server.js'

const Jwk = Type.Object(
  {
    kty: Type.Literal('OKP'),
    crv: Type.Literal('Ed25519'),
    x: Type.String({ description: 'The public key, 32 bytes, base64url' }),
    kid: Type.String({ description: 'Its thumbprint (RFC 7638)' }),
    use: Type.Literal('sig'),
    alg: Type.Literal('EdDSA'),
    status: Type.Enum(['current', 'retired'], { description: 'Ours: what is signed now, and what was' }),
    madeAt: At,
    retiredAt: Type.Optional(At),
  },
  { title: 'SigningKey', description: 'A public key (RFC 8037)' },
)

const JwkSet = Type.Object(
  { keys: Type.Array(Jwk) },
  { description: 'Newest first; a tenant that has signed nothing yet has none' },
)

/** A key that is new to a verifier has just been made: for so long it may be hidden by a cache. */
const CACHE = 'public, max-age=300'

/** The public keys that a tenant's grants and webhooks are verified with. */
export async function keyRoutes(app: App, { database }: Pick<ServerDeps, 'database'>): Promise<void> {
  app.get(
    '/t/:tenant/.well-known/jwks.json',
    {
      config: { public: true },
      schema: {
        operationId: 'getSigningKeys',
        summary: "A tenant's public keys",
        description:
          'A JWK set (RFC 7517) of the keys that grants and webhooks are signed with, those of before included. Revoked keys are not listed.',
        tags: ['changes'],
        params: Type.Object({ tenant: Type.String() }),
        response: { 200: JwkSet, ...publicProblems(404) },
      },
      serializerCompiler: () => JSON.stringify,
    },
    async (request, reply) => {
      const { tenant } = request.params
      const keys = TENANT.test(tenant) ? await publicKeysOf(database, tenant) : undefined
      if (keys === undefined) throw new DomainError('TENANT_UNKNOWN', 'there is no such tenant')
      void reply.header('cache-control', CACHE).header('cross-origin-resource-policy', 'cross-origin')
      return {
        keys: keys
          .filter(({ status }) => status !== 'revoked')
          .map(jwk)
          .reverse(),
      }
    },
  )
}

const TENANT = /^[a-z][a-z0-9-]{1,62}$/

function jwk({ x, kid, status, madeAt, retiredAt }: PublicKeyHistory) {
  return {
    kty: 'OKP',
    crv: 'Ed25519',
    x,
    kid,
    use: 'sig',
    alg: 'EdDSA',
    status: status === 'current' ? 'current' : 'retired',
    madeAt,
    ...(retiredAt !== undefined && { retiredAt }),
  } as const
}
