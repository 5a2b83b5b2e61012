import { ProblemError } from '../../acme/problem.ts'
import type { HttpClient, Issuer, Option, Plugin, PluginContext } from '../../plugin-api.ts'
import type { RequestKey } from '../../signature/sign-request.ts'
import { formatPem } from '../../x509/pem.ts'
import { defaultAgentKeyFile, openAgentKey } from './agent-key.ts'
import { checkTrust, parseHubUrl, parsePins } from './hub-address.ts'
import { readHubAnswer } from './hub-answer.ts'
import { createHubBoxes } from './hub-boxes.ts'
import { createHubConnection } from './hub-connection.ts'
import { askHubForWindow } from './hub-renewal-info.ts'

const options = {
  server: {
    meaning: 'the acmems that issues, over TLS: https://hub.example:1313',
    type: 'URL',
    required: true,
    parse: parseHubUrl,
  },
  key: {
    meaning:
      'private key that this machine signs its requests with, PEM; made at first use (default: agent.key beside the state)',
    type: 'path',
    parse: String,
  },
  'key-id': {
    meaning: "what the server calls the key (default: the key's thumbprint)",
    type: 'text',
    parse: parseKeyId,
  },
  pin: {
    meaning:
      "the server's public key, sha256//BASE64, as curl's --pinnedpubkey: checked instead of its certificate; repeat it for a key to come",
    type: 'pin',
    list: true,
    parse: parsePins,
  },
  'ca-file': {
    meaning: "PEM file with the roots to trust for the server's certificate, beside the usual ones",
    type: 'path',
    parse: String,
  },
} as const satisfies Record<string, Option<unknown>>

/** `type = acmems`: another acmems issues, by its own rules for this machine's key. */
export const acmemsIssuer: Plugin<'issuer', typeof options> = {
  kind: 'issuer',
  name: 'acmems',
  meaning: 'another acmems, asked by signed requests: certificates for hosts that the CA cannot reach, gateways',
  options,
  needsNoVerification: true,
  hasBoxes: true,
  check({ server, pin, 'ca-file': caFile }) {
    checkTrust(server, pin.flat(), caFile)
  },
  async create({ server, key: givenFile, 'key-id': keyId, pin, 'ca-file': caFile }, setup) {
    const http = await setup.httpClient(caFile, pin.flat())
    const file = givenFile ?? defaultAgentKeyFile(setup.stateFolder)
    return createHubIssuer(server, setup.userAgent, http, createKeyHolder(file, keyId, setup))
  },
}

/** Reads the key once; one that cannot be read is looked for again the next time. */
function createKeyHolder(file: string, givenId: string | undefined, { log }: PluginContext): () => Promise<RequestKey> {
  let loading: Promise<RequestKey> | undefined
  return () => {
    loading ??= openAgentKey(file)
      .then(({ key, thumbprint, isNew, publicPem }) => {
        const keyId = givenId ?? thumbprint
        if (isNew)
          log.warn("this machine's key was made; the server has to know it: acmems agent enroll, or public-key there", {
            file,
            keyId,
            publicKey: publicPem.replaceAll('\n', ' ').trim(),
          })
        return { key, keyId }
      })
      .catch((cause: unknown) => {
        loading = undefined
        throw new ProblemError('userActionRequired', 'the key that requests are signed with cannot be used', { cause })
      })
    return loading
  }
}

function createHubIssuer(
  origin: string,
  userAgent: string,
  http: HttpClient,
  requestKey: () => Promise<RequestKey>,
): Issuer {
  const hub = createHubConnection(origin, userAgent)
  const reach = <Given extends PluginContext>(context: Given): Given => ({ ...context, http })

  return {
    key: `acmems:${origin}`,
    // One question. The server remembers what it issued for this request: asking again after a crash costs nothing.
    async advance({ csr }, _progress, _resumed, given) {
      const context = reach(given)
      const reply = await hub.ask(
        { path: '/sign', body: formatPem('CERTIFICATE REQUEST', csr.der) },
        await requestKey(),
        context,
      )
      const names = csr.identifiers.map(({ value }) => value)
      const answer = readHubAnswer(reply, { host: hub.host, names, nowMs: context.clock.nowMs() })
      if (answer.outcome === 'issued')
        return { outcome: 'done', chain: { chainPem: answer.chainPem, alternatesPem: [] } }
      const { notBeforeMs, words } = answer
      return {
        outcome: 'again',
        progress: { asked: true },
        notBeforeMs,
        recoverable: true,
        note: `${hub.host}: ${words}`,
      }
    },
    renewalInfo: (certificateDer, context) => askHubForWindow(hub, certificateDer, reach(context)),
    boxes: createHubBoxes(hub, requestKey, reach),
    timeMs: (context) => hub.timeMs(reach(context)),
    async prepare(context) {
      await requestKey()
      await hub.timeMs(reach(context))
    },
  }
}

function parseKeyId(text: string): string {
  if (!/^[\x20-\x7e]{1,200}$/.test(text)) throw new Error('a key id has 1 to 200 printable ASCII characters')
  return text
}
