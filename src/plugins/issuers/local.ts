import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurably } from '../../durable-file.ts'
import { errorCode } from '../../error-code.ts'
import { lockFolder } from '../../folder-lock.ts'
import type { Issuer, Option, Plugin, PluginContext } from '../../plugin-api.ts'
import { buildCertificate } from '../../x509/certificate-builder.ts'
import { formatPem } from '../../x509/pem.ts'
import { parseDays } from '../option-values.ts'

const dayMs = 24 * 3_600_000
const rootLifetimeMs = 3650 * dayMs
const intermediateLifetimeMs = 1825 * dayMs
const lockPollMs = 50
/** Hosts whose clock is a little behind must not find the certificate in their future. */
const backdateMs = 3_600_000

const options = {
  dir: {
    meaning: 'folder of the embedded CA: root.pem and its keys (default: "ca" beside the state)',
    type: 'path',
    parse: String,
  },
  lifetime: { meaning: 'how long certificates live', type: 'days', default: '90', parse: parseDays },
  name: { meaning: 'the name that the CA bears', type: 'text', default: 'acmems local CA', parse: String },
} as const satisfies Record<string, Option<unknown>>

/** `type = local`: a CA of our own, for trying out, for tests and for names that no public CA can know. */
export const localIssuer: Plugin<'issuer', typeof options> = {
  kind: 'issuer',
  name: 'local',
  meaning: 'the embedded CA: no validation, trusted only where its root.pem is',
  options,
  needsNoVerification: true,
  async create({ dir, lifetime, name }, context) {
    const folder = dir ?? join(context.stateFolder, context.section === 'default' ? 'ca' : `ca-${context.section}`)
    let loading: Promise<Authority> | undefined
    const authority = () => {
      loading ??= loadAuthority(folder, name, context).catch((error: unknown) => {
        loading = undefined
        throw error
      })
      return loading
    }
    return createLocalIssuer(folder, lifetime, authority)
  },
}

type Authority = { readonly key: KeyObject; readonly certificate: X509Certificate; readonly certificatePem: string }

function createLocalIssuer(folder: string, lifetimeMs: number, authority: () => Promise<Authority>): Issuer {
  return {
    key: `local:${folder}`,
    async advance(grant, _progress, _resumed, context) {
      const { key, certificate, certificatePem } = await authority()
      const nowMs = context.clock.nowMs()
      const der = buildCertificate({
        kind: 'leaf',
        identifiers: grant.csr.identifiers,
        publicKey: grant.csr.publicKey,
        issuer: { key, certificate },
        notBeforeMs: nowMs - backdateMs,
        notAfterMs: nowMs + lifetimeMs,
        serial: context.randomBytes(16),
      })
      const chainPem = `${formatPem('CERTIFICATE', der)}${certificatePem}`
      return { outcome: 'done', chain: { chainPem, alternatesPem: [] } }
    },
    async prepare() {
      await authority()
    },
  }
}

async function loadAuthority(folder: string, name: string, context: PluginContext): Promise<Authority> {
  try {
    const [keyPem, certificatePem] = await Promise.all([
      readFile(join(folder, 'intermediate.key'), 'utf8'),
      readFile(join(folder, 'intermediate.pem'), 'utf8'),
    ])
    return { key: createPrivateKey(keyPem), certificate: new X509Certificate(certificatePem), certificatePem }
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
    return makeAuthorityOnce(folder, name, context)
  }
}

/** Of several processes that start at the same first moment one makes it, and the others take that. */
async function makeAuthorityOnce(folder: string, name: string, context: PluginContext): Promise<Authority> {
  await using lock = await lockFolder(folder)
  if (lock === undefined) {
    await context.clock.sleep(lockPollMs, context.signal)
    return await loadAuthority(folder, name, context)
  }
  // Awaited here: the lock is held until it is made.
  return existsSync(join(folder, 'intermediate.pem'))
    ? await loadAuthority(folder, name, context)
    : await createAuthority(folder, name, context)
}

async function createAuthority(folder: string, name: string, context: PluginContext): Promise<Authority> {
  const nowMs = context.clock.nowMs() - backdateMs
  const root = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const intermediate = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rootDer = buildCertificate({
    kind: 'authority',
    commonName: `${name} root`,
    publicKey: root.publicKey,
    issuer: { key: root.privateKey },
    notBeforeMs: nowMs,
    notAfterMs: nowMs + rootLifetimeMs,
    serial: context.randomBytes(16),
  })
  const certificateDer = buildCertificate({
    kind: 'authority',
    commonName: name,
    pathLength: 0,
    publicKey: intermediate.publicKey,
    issuer: { key: root.privateKey, certificate: new X509Certificate(rootDer) },
    notBeforeMs: nowMs,
    notAfterMs: nowMs + intermediateLifetimeMs,
    serial: context.randomBytes(16),
  })
  const certificatePem = formatPem('CERTIFICATE', certificateDer)
  await writeDurably(join(folder, 'root.key'), exportKey(root.privateKey))
  await writeDurably(join(folder, 'root.pem'), formatPem('CERTIFICATE', rootDer), { mode: 0o644 })
  await writeDurably(join(folder, 'intermediate.key'), exportKey(intermediate.privateKey))
  // Last, because with it the CA is complete.
  await writeDurably(join(folder, 'intermediate.pem'), certificatePem, { mode: 0o644 })
  context.log.info('embedded CA made; machines that shall trust it need its root', { root: join(folder, 'root.pem') })
  return { key: intermediate.privateKey, certificate: new X509Certificate(certificateDer), certificatePem }
}

function exportKey(key: KeyObject): string {
  createPublicKey(key) // a key that cannot be read back is better found here than at the next start
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}
