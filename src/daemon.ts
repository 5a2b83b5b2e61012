import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import type { ChallengeType } from './acme/challenge.ts'
import { openAnswersDoor } from './answers/answers-door.ts'
import { auditEventOf, createAuditLog } from './audit-log.ts'
import { createCertificateWork, createIssuanceOver, repeat } from './certificate-work.ts'
import { certificateBlockName } from './config/certificate-block.ts'
import { isForInstaller } from './config/certificates.ts'
import type { CertificateSection, Config } from './config/config.ts'
import { createDeploymentWork } from './deployment-work.ts'
import { createDnsApiDoor } from './dns-api/dns-api-door.ts'
import { createHousekeeping } from './housekeeping.ts'
import { openListener } from './http/listener.ts'
import { createPathDoors } from './http/paths.ts'
import { createSignatureCheck } from './http/signature-check.ts'
import { type Installation, type InstallationParts, openInstallation } from './installation.ts'
import { createInstallerLink } from './installer-link.ts'
import type { Outages } from './issuance/records.ts'
import { createListenerSet } from './listener-set.ts'
import { placeFirstCertificate } from './managed/first-certificate.ts'
import type { Managed } from './managed/upkeep.ts'
import { openManagedCertificates } from './managed-certificates.ts'
import { createMgmtListeners } from './mgmt-listeners.ts'
import { releaseDeadHolders } from './order-holder.ts'
import { createIdentify } from './pick-up/caller.ts'
import { boxPath, createPickUpDoor } from './pick-up/pick-up-door.ts'
import { createRegistrationDoor } from './pick-up/registration-door.ts'
import type { IssuanceEvent, PluginContext } from './plugin-api.ts'
import { isAlive } from './process-id.ts'
import { createRegisteredBoxes } from './registered-boxes.ts'
import type { ResponderAddresses } from './responder-addresses.ts'
import { createResponders } from './responders.ts'
import { createRuntime, type Runtime } from './runtime.ts'
import { createScrubber } from './scrubber.ts'
import { createAgentScript } from './sign/agent-script.ts'
import { createEnrollDoor } from './sign/enroll-door.ts'
import { createLegacyUses } from './sign/legacy-uses.ts'
import { createRenewalInfoDoor, renewalInfoPath } from './sign/renewal-info-door.ts'
import { createSignDoor } from './sign/sign-door.ts'
import { createSignatureMemory } from './signature-memory.ts'
import { createStoredAnswers } from './stored-answers.ts'

/** The running server. Disposing of it stops it: what is in flight finishes, within a bound. */
export interface Daemon extends AsyncDisposable {
  /** Where the doors are open, with the ports really taken. */
  readonly mgmtAddresses: readonly string[]
  readonly responderAddresses: ResponderAddresses
  readonly dnsApiAddresses: readonly string[]
  /** Takes a new configuration. @throws Error when it cannot be had; the old one then goes on */
  reload(config: Config): Promise<void>
}

export type DaemonParts = InstallationParts

/** Beside `src/`, and beside `dist/` in the package. */
const agentFolder = join(import.meta.dirname, '..', 'agent')
const registrationsSeenMs = 60_000
const stopGraceMs = 10_000
const aliasKeyBytes = 32
const mgmtLimits = { maxConnections: 2000, requestTimeoutMs: 9000 }
const dnsApiLimits = { maxConnections: 200, requestTimeoutMs: 5000 }

/** The composition root: the only place that sees every part. @throws Error when the server cannot start */
export async function startDaemon(config: Config, parts: DaemonParts): Promise<Daemon> {
  await using stack = new AsyncDisposableStack()
  const stopping = new AbortController()
  const installation = stack.use(await openInstallation(config, parts, stopping.signal))
  const { state, context, holder, setupFor } = installation
  const { clock } = context
  // Closed last but for the state itself: what ends with the server is overwritten, too.
  stack.use(createScrubber(state.scrubbing, context, repeat))
  await prepareAliases(config, installation)

  const answering = (type: ChallengeType) => responders.answering(type)
  let runtime = await createRuntime(config, setupFor, answering)
  const former: Runtime[] = []
  const registered = createRegisteredBoxes(state.boxRegistrations, parts.log)
  const { installer: installerSocket } = config.process
  const installer = installerSocket === undefined ? undefined : createInstallerLink(installerSocket, config, context)
  const open = (sections: readonly CertificateSection[], { config: { mgmtTls }, issuers }: Runtime) =>
    openManagedCertificates(sections, { ...installation, boxes: state.boxes, issuers, installer, mgmtTls })
  const manage = async (of: Runtime) => await open([...of.config.certificates, ...(await registered.admitAll(of))], of)
  let managed = await manage(runtime)
  await releaseDeadHolders(state.orders, holder, isAlive)
  const issuance = createIssuanceOver(installation)
  const auditLog = createAuditLog(state.audit, context)
  // After the answer, never before it.
  const tell = (event: IssuanceEvent) =>
    setImmediate(() => {
      auditLog.note(auditEventOf(event))
      if (event.kind === 'certificate.installed') void mgmt.refresh()
      void runtime.notify(event)
    })
  const work = { ...installation, issuance, runtime: () => runtime, managed: () => managed, tell }
  const { renewals, upkeep } = createCertificateWork(work)
  const deployment = createDeploymentWork({ ...work, later: (act) => void setImmediate(act) })
  const doorParts = { clock, log: parts.log, makeRequestId: installation.makeId }
  const checkSignature = createSignatureCheck({ memory: createSignatureMemory(state), clock })
  const signDoor = createSignDoor({
    rules: () => runtime.rules,
    issuance,
    checkSignature,
    legacyUses: createLegacyUses(clock, parts.log),
    aliasOf: state.aliases.of,
    ...doorParts,
    tell,
    pickedUp: deployment.notes.note,
  })
  const boxRules = () => ({ ...runtime.rules, boxBlocks: runtime.boxBlocks })
  const identify = createIdentify(checkSignature)
  const pickUpDoor = createPickUpDoor({
    rules: boxRules,
    boxes: state.boxes,
    identify,
    pickedUp: deployment.noteBox,
    ...doorParts,
  })
  const enrollDoor = createEnrollDoor({
    rules: () => runtime.enrollRules,
    memory: state.enrolments,
    ...doorParts,
  })
  const registrationDoor = createRegistrationDoor({
    rules: boxRules,
    identify,
    async register(wish, blocks) {
      const section = await registered.register(wish, blocks, runtime)
      if (typeof section === 'string') return section
      managed = [
        ...managed.filter(({ section: { name } }) => name !== section.name),
        ...(await open([section], runtime)),
      ]
      upkeep.wake(certificateBlockName(section.name), { afresh: true })
      return undefined
    },
    ...doorParts,
  })
  const renewalInfoDoor = createRenewalInfoDoor({
    certificates: state.register,
    trustedProxies: () => runtime.rules.trustedProxies,
    ...doorParts,
  })
  const boxDoor: RequestListener = (request, response) =>
    (request.method === 'POST' ? registrationDoor : pickUpDoor)(request, response)
  const door = createPathDoors({ path: '/sign', door: signDoor }, [
    { path: boxPath, door: boxDoor },
    { path: '/enroll', door: enrollDoor },
    { path: renewalInfoPath, door: renewalInfoDoor },
    ...createAgentScript(agentFolder, signDoor),
  ])
  const mgmt = createMgmtListeners({
    openAt: (address, tls) => openListener(address, door, mgmtLimits, tls),
    log: parts.log,
    nowMs: () => clock.nowMs(),
    repeat,
  })
  const dnsApiDoor = createDnsApiDoor({
    rules: () => runtime.dnsApiRules,
    answers: state.answers,
    accounts: state.dnsAccounts,
    nowMs: () => clock.nowMs(),
    randomBytes: context.randomBytes,
    log: parts.log,
    makeId: installation.makeId,
  })
  const dnsApi = createListenerSet((address) => openListener(address, dnsApiDoor, dnsApiLimits), parts.log)
  const answers = createStoredAnswers(installation)
  const responders =
    config.process.responder === undefined
      ? createResponders(answers, context)
      : await openAnswersDoor(config.process.responder, answers, context)
  // Undone in reverse: the doors close, then what still runs is told to stop, then the parts go.
  stack.defer(async () => {
    for (const one of [runtime, ...former]) await one[Symbol.asyncDispose]()
  })
  stack.use(auditLog)
  stack.use(deployment.notes)
  let working: Promise<unknown> | undefined
  stack.defer(async () => void (await working))
  if (installer !== undefined) stack.use(installer)
  stack.defer(() => stopping.abort(new Error('the server is stopping')))
  stack.defer(() => responders.close())
  stack.defer(() => dnsApi.close(stopGraceMs))
  stack.defer(() => mgmt.close(stopGraceMs))
  answers.relayTo(runtime.responderRelays)
  await responders.change(runtime.responderSetup)
  await dnsApi.change(runtime.dnsApiListeners)
  await placeFirst(config)
  await mgmt.change(config)
  await prepareIssuers(runtime, state.outages, context)
  stack.use(await createHousekeeping(state, holder, context, repeat))
  // What hosts registered at another server on this state.
  if (/^postgres/.test(installation.stateUrl))
    stack.use(
      repeat(registrationsSeenMs, () => {
        manage(runtime).then(
          (fresh) => {
            managed = fresh
          },
          (error: unknown) => parts.log.warn('registered boxes could not be read', { error }),
        )
      }),
    )
  let staying: Promise<void> | undefined
  working = Promise.all([...[renewals.run(), upkeep.run(), deployment.watch.run()], stayWithInstaller(config)])

  /** With nothing for it, it need not be there. */
  function stayWithInstaller({ certificates, mgmtTls }: Config): Promise<void> | undefined {
    if (certificates.some((section) => isForInstaller(section, { mgmtTls })))
      staying ??= installer?.stay((block) => upkeep.wake(block, { afresh: true }))
    return staying
  }

  /** The listener needs a certificate before anybody can be asked for one. */
  async function placeFirst({ mgmtTls, certificates }: Config): Promise<void> {
    const section = certificates.find(({ name }) => name === mgmtTls?.managed)
    if (section !== undefined && (await placeFirstCertificate(section, context)))
      parts.log.info('the management listener begins with a self-signed certificate; its key stays', {
        certificate: section.name,
      })
  }

  async function change(next: Config): Promise<void> {
    await prepareAliases(next, installation)
    const fresh = await createRuntime(next, setupFor, answering)
    let freshlyManaged: Managed[]
    try {
      freshlyManaged = await manage(fresh)
      await responders.change(fresh.responderSetup)
      await dnsApi.change(fresh.dnsApiListeners)
      await placeFirst(next)
      await mgmt.change(next)
    } catch (error) {
      await responders.change(runtime.responderSetup)
      await dnsApi.change(runtime.dnsApiListeners)
      await fresh[Symbol.asyncDispose]()
      throw error
    }
    answers.relayTo(fresh.responderRelays)
    former.push(runtime)
    runtime = fresh
    managed = freshlyManaged
    void stayWithInstaller(next)
    upkeep.wake()
    deployment.watch.wake()
    // Whoever reloads may have cured what kept an issuer from working.
    await issuance.retryIssuers()
    // What is in flight holds on to its old parts; with nothing in flight they can go.
    if (issuance.inFlight === 0) for (const old of former.splice(0)) await old[Symbol.asyncDispose]()
    if (next.stateUrl !== config.stateUrl) parts.log.warn('[state] url takes effect at the next restart')
    if (next.process.responder !== config.process.responder)
      parts.log.warn('[process] responder takes effect at the next restart')
    if (next.process.installer !== installerSocket)
      parts.log.warn('[process] installer takes effect at the next restart')
    if (next.logging.destination !== config.logging.destination)
      parts.log.warn('[logging] destination takes effect at the next restart')
    await prepareIssuers(fresh, state.outages, context)
  }

  // One after another: two at once would each believe that the other's listeners are its own.
  let lastChange = Promise.resolve()
  function reload(next: Config): Promise<void> {
    const turn = lastChange.then(() => change(next))
    lastChange = turn.catch(() => undefined)
    return turn
  }

  const disposables = stack.move()
  return {
    get mgmtAddresses() {
      return mgmt.listeners.map(({ boundAddress }) => boundAddress)
    },
    get dnsApiAddresses() {
      return dnsApi.listeners.map(({ boundAddress }) => boundAddress)
    },
    get responderAddresses() {
      return responders.addresses
    },
    reload,
    [Symbol.asyncDispose]: () => disposables.disposeAsync(),
  }
}

/** Requests that are not recorded are told apart and counted by aliases: those are there before the first of them. */
async function prepareAliases({ blocks }: Config, { state, context }: Installation): Promise<void> {
  if (blocks.every(({ values }) => values.metadata)) return
  const nowMs = context.clock.nowMs()
  await state.aliases.ensure(() => context.randomBytes(aliasKeyBytes), nowMs)
  await state.rates.beginAliases(nowMs)
}

/** In the background: a CA that is down now may be up when it is needed. */
async function prepareIssuers(runtime: Runtime, outages: Outages, context: PluginContext): Promise<void> {
  const needed = new Set(runtime.config.blocks.map(({ issuer }) => issuer))
  for (const [name, issuer] of runtime.issuers) {
    if (!needed.has(name)) continue
    // A CA that said when to come back said it to the process before us, too.
    const outage = await outages.find(issuer.key)
    if (outage !== undefined && outage.untilMs > context.clock.nowMs()) continue
    issuer.prepare?.(context).catch((error: unknown) => {
      if (!context.signal.aborted)
        context.log.warn('the issuer is not ready; it is tried again when it is needed', { issuer: name, error })
    })
  }
}
