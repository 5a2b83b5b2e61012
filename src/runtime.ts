import { ProblemError } from './acme/problem.ts'
import { certificateBlock } from './config/certificate-block.ts'
import type { CertificateSection, Chosen, Config } from './config/config.ts'
import type { DnsApiRules } from './dns-api/dns-api-door.ts'
import type { SignatureRules } from './http/signature-check.ts'
import type { IssueRequest, Means } from './issuance/issue.ts'
import type { StoredRequest } from './issuance/renewals.ts'
import type {
  CertificateStorage,
  ChallengeSolver,
  Credential,
  Grant,
  IssuanceEvent,
  Issuer,
  Notifier,
  PluginKind,
  PluginKinds,
  PluginSetup,
  SigningKey,
} from './plugin-api.ts'
import { addressRanges } from './plugins/address-range.ts'
import { createDns01Solver } from './plugins/challenges/dns01.ts'
import type { Dns01Values } from './plugins/challenges/dns01-options.ts'
import { stateStorage } from './plugins/storages/state.ts'
import { authorize, wantsSignature } from './policy/authorize.ts'
import type { Block } from './policy/block.ts'
import { coversName } from './policy/name-pattern.ts'
import {
  awaitResponder,
  type ResponderSetup,
  type Responders,
  responderAddressesOf,
  responderRelaysOf,
  responderZonesOf,
} from './responder-addresses.ts'
import type { EnrollRules } from './sign/enroll-door.ts'
import type { SignRules } from './sign/sign-door.ts'
import { createValidationPorts, withOpenPorts } from './validation-ports.ts'
import { parseCsrPem } from './x509/csr.ts'

/** Everything a configuration brings to life. A reload makes a new one beside the old. */
export interface Runtime extends AsyncDisposable {
  readonly config: Config
  readonly rules: SignRules
  /** The auth blocks of certificates that are picked up, by their names. */
  readonly boxBlocks: ReadonlyMap<string, string>
  /** From now on this certificate may be issued, too, as far as its auth block covers it: a host registered it. */
  admit(section: CertificateSection): Promise<void>
  readonly enrollRules: EnrollRules
  readonly issuers: ReadonlyMap<string, Issuer>
  readonly solvers: ReadonlyMap<string, ChallengeSolver>
  readonly storages: ReadonlyMap<string, CertificateStorage>
  readonly dnsApiListeners: readonly string[]
  readonly dnsApiRules: DnsApiRules
  readonly responderSetup: ResponderSetup
  readonly responderRelays: readonly string[]
  /** What today's configuration makes of a request that was made before. @throws ProblemError when it may not be */
  requestOf(stored: StoredRequest): IssueRequest
  /** Tells every notifier; a failure is logged. */
  notify(event: IssuanceEvent): Promise<void>
}

/** What a plugin is made with, for one section. */
export type SetupFor = (section: string, parts: Pick<PluginSetup, 'openAccountKey'>) => PluginSetup

/**
 * @param answering waited for before the CA is told to look here
 * @throws Error naming the section whose plugin could not be made
 */
export async function createRuntime(
  config: Config,
  setupFor: SetupFor,
  answering?: Responders['answering'],
): Promise<Runtime> {
  await using made = new AsyncDisposableStack()
  let owner: AsyncDisposableStack = made
  const openAccountKey = createKeyOpener(config, setupFor)
  const make = async <K extends PluginKind>(kind: string, chosen: Chosen<K>): Promise<PluginKinds[K]> => {
    const setup = setupFor(chosen.name, { openAccountKey })
    try {
      const part = await chosen.plugin.create(chosen.options as never, setup)
      owner.defer(async () => part[Symbol.asyncDispose]?.())
      return part as PluginKinds[K]
    } catch (error) {
      throw new Error(
        `${chosen.origin}: [${kind} "${chosen.name}"] ${error instanceof Error ? error.message : 'cannot be made'}`,
        { cause: error },
      )
    }
  }

  const all = async <K extends PluginKind>(
    kind: string,
    sections: ReadonlyMap<string, Chosen<K>>,
  ): Promise<Map<string, PluginKinds[K]>> => {
    const parts = new Map<string, PluginKinds[K]>()
    for (const [name, chosen] of sections) parts.set(name, await make(kind, chosen))
    return parts
  }
  const issuers = await all<'issuer'>('issuer', config.issuers)
  const solvers = new Map<string, ChallengeSolver>()
  for (const [name, chosen] of config.verifications)
    solvers.set(name, asSolver(chosen, await make('verification', chosen)))
  const storages = await all<'storage'>('storage', config.storages)
  const notifiers = await all<'notifier'>('notification', config.notifications)
  const blocks: Block[] = []
  for (const block of config.blocks) {
    const credentials: Credential[] = []
    for (const chosen of block.credentials) credentials.push(await make('auth', { ...chosen, name: block.name }))
    blocks.push(createBlock(block, credentials))
  }

  async function admit(section: CertificateSection, within?: Block): Promise<void> {
    const block = certificateBlock(section, within)
    blocks.splice(0, blocks.length, ...blocks.filter(({ name }) => name !== block.name), block)
    const chosen = { ...section, plugin: stateStorage, options: { 'renew-within': section.values['renew-within'] } }
    storages.set(block.storage, await make('certificate', chosen))
    if (section.values.auth !== undefined) boxBlocks.set(section.name, section.values.auth)
  }
  const boxBlocks = new Map<string, string>()
  for (const section of config.certificates) await admit(section)

  const { firewall } = config.process
  const ports =
    firewall === undefined
      ? undefined
      : made.use(createValidationPorts(firewall, setupFor('process', { openAccountKey })))

  const disposables = made.move()
  owner = disposables
  const trustedProxies = addressRanges(config.mgmt['trusted-proxy'])
  const responderZones = responderZonesOf(solvers.values())
  const signatures = signatureRulesOf(blocks, config.mgmt['public-name'])
  const ready = (solver: ChallengeSolver) => {
    const awaiting = answering === undefined ? solver : awaitResponder(solver, answering)
    return ports === undefined ? awaiting : withOpenPorts(awaiting, ports)
  }
  const means = (grant: Grant) => meansOf(grant, config.fallbacks, issuers, solvers, storages, ready)
  return {
    config,
    issuers,
    solvers,
    storages,
    rules: {
      maxBodyBytes: config.mgmt['max-size'],
      trustedProxies,
      blocks,
      signatures,
      meansOf: means,
    },
    boxBlocks,
    admit: (section) =>
      admit(
        section,
        blocks.find(({ name }) => name === section.values.auth),
      ),
    enrollRules: {
      trustedProxies,
      enrollingBlocks: new Set(
        config.blocks
          .filter(({ credentials }) => credentials.some(({ options }) => options.enroll === true))
          .map(({ name }) => name),
      ),
    },
    responderSetup: { addresses: responderAddressesOf(solvers.values()), zones: responderZones },
    responderRelays: responderRelaysOf(solvers.values()),
    dnsApiListeners: config.dnsApi.listener,
    dnsApiRules: { trustedProxies, blocks, zones: responderZones.flatMap(({ name }) => name ?? []) },
    requestOf: (stored) => requestOf(stored, blocks, means),
    notify: (event) => notifyAll(event, notifiers, (name) => setupFor(name, { openAccountKey })),
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

/** Opens account keys as `NAME:location` says. */
export function createKeyOpener(
  { accountKeys }: Pick<Config, 'accountKeys'>,
  setupFor: SetupFor,
): PluginSetup['openAccountKey'] {
  return async function openAccountKey(location) {
    const [scheme = '', ...rest] = location.includes(':') ? location.split(':') : ['file', location]
    const plugin = accountKeys.findLast(({ name }) => name === scheme)
    const known = accountKeys.map(({ name }) => `${name}:`).join(', ')
    if (plugin === undefined) throw new Error(`key = ${location}: no such kind of key; known are ${known}`)
    const options = { location: plugin.options.location?.parse(rest.join(':')) }
    return plugin.create(options as never, setupFor('account key', { openAccountKey }))
  }
}

function signatureRulesOf(blocks: readonly Block[], publicNames: readonly string[]): SignatureRules {
  const asking = blocks.flatMap(({ credentials }) => credentials.filter(wantsSignature))
  const keysById = new Map<string, SigningKey[]>()
  for (const signingKey of asking.flatMap(({ signingKeys }) => signingKeys ?? [])) {
    const ids = signingKey.key.type === 'secret' ? [signingKey.keyId] : [signingKey.keyId, signingKey.thumbprint]
    for (const id of new Set(ids)) keysById.set(id, [...(keysById.get(id) ?? []), signingKey])
  }
  return { wanted: asking.length > 0, keysById, publicNames }
}

function asSolver(chosen: Chosen<'solver' | 'dns'>, part: PluginKinds['solver' | 'dns']): ChallengeSolver {
  return 'addTxt' in part && chosen.plugin.kind === 'dns'
    ? createDns01Solver(part, chosen.options as Dns01Values)
    : (part as ChallengeSolver)
}

function createBlock(block: Config['blocks'][number], credentials: readonly Credential[]): Block {
  const { domain, wildcard, 'ip-address': ipAddress, 'max-names': maxNames, profile } = block.values
  const addresses = addressRanges(ipAddress)
  return {
    name: block.name,
    credentials,
    maxNames,
    issuer: block.issuer,
    verification: block.verification,
    storage: block.storage,
    profile,
    registersBoxes: block.values['register-boxes'],
    ...(block.values.metadata ? {} : { unrecorded: true }),
    covers: (identifier) => {
      if (identifier.type === 'dns') return coversName(domain, wildcard, identifier)
      // An IPv4 address in IPv6 clothes is another name for a certificate than the address it means.
      return !identifier.value.startsWith('::ffff:') && addresses.includes(identifier.value)
    },
  }
}

function meansOf(
  grant: Grant,
  fallbacks: ReadonlyMap<string, string>,
  issuers: ReadonlyMap<string, Issuer>,
  solvers: ReadonlyMap<string, ChallengeSolver>,
  storages: ReadonlyMap<string, CertificateStorage>,
  ready: (solver: ChallengeSolver) => ChallengeSolver,
): Means {
  const storage = storages.get(grant.storage)
  const chosen = grant.verification === undefined ? undefined : solvers.get(grant.verification)
  const solver = chosen === undefined ? undefined : ready(chosen)
  const meansAt = (name: string): Means => {
    const issuer = issuers.get(name)
    if (issuer === undefined || storage === undefined) {
      throw new ProblemError('serverInternal', 'the configuration changed while this was asked; ask again', {
        retry: { when: 'backoff' },
      })
    }
    const fallback = fallbacks.get(name)
    return {
      issuer,
      storage,
      solvers: solver === undefined ? [] : [solver],
      ...(fallback === undefined ? {} : { fallback: meansAt(fallback) }),
    }
  }
  return meansAt(grant.issuer)
}

/** Every renewal is authorised again, by today's blocks. */
function requestOf(
  { block, postedBytes, remoteAddress }: StoredRequest,
  blocks: readonly Block[],
  means: (grant: Grant) => Means,
): IssueRequest {
  const csr = parseCsrPem(Buffer.from(postedBytes).toString('latin1'))
  const decision = authorize({ remoteAddress, blocks: [block] }, csr, blocks)
  if (!decision.allowed) {
    throw new ProblemError('rejectedIdentifier', `the auth block "${block}" does not allow these names any more`)
  }
  return { grant: decision.grant, postedBytes, means: means(decision.grant) }
}

async function notifyAll(
  event: IssuanceEvent,
  notifiers: ReadonlyMap<string, Notifier>,
  setupOf: (name: string) => PluginSetup,
): Promise<void> {
  await Promise.all(
    [...notifiers].map(async ([name, notifier]) => {
      const setup = setupOf(name)
      try {
        await notifier.notify(event, setup)
      } catch (error) {
        setup.log.warn('a notification could not be delivered', { event: event.kind, error })
      }
    }),
  )
}
