import { ProblemError } from '../../acme/problem.ts'
import type { ChallengeTask, Plugin, PluginContext, TxtRecord } from '../../plugin-api.ts'
import { parseCount } from '../option-values.ts'
import { domainOf } from './challenge-domain.ts'
import { callApi, parseEndpoint } from './http-api.ts'

const options = {
  endpoint: {
    meaning: 'the server that has /present and /cleanup: https, or http on this machine',
    type: 'URL',
    required: true,
    parse: parseEndpoint,
  },
  mode: {
    meaning: 'default: sends fqdn and value; RAW: sends domain, token and keyAuth',
    type: 'word',
    default: 'default',
    parse: parseMode,
  },
  username: { meaning: 'for Basic authentication', type: 'text', parse: String },
  password: { meaning: 'for Basic authentication', type: 'text', secret: true, parse: String },
  timeout: { meaning: 'how long one request may take', type: 'seconds', default: '30', parse: parseCount },
  'ca-file': { meaning: 'roots to trust beside the usual ones, in PEM', type: 'path', parse: String },
} as const

/** `type = dns01-httpreq`: whatever server speaks lego's httpreq; HTTP does the rest. */
export const httpreqProvider: Plugin<'dns', typeof options> = {
  kind: 'dns',
  name: 'dns01-httpreq',
  meaning: "prove names by DNS through a server that speaks lego's httpreq",
  options,
  check({ username, password }) {
    if ((username === undefined) !== (password === undefined)) throw new Error('give username and password, or neither')
  },
  async create({ endpoint, mode, username, password, timeout, 'ca-file': caFile }, { httpClient }) {
    const credentials = Buffer.from(`${username}:${password}`).toString('base64')
    const settings = {
      provider: 'the httpreq server',
      endpoint,
      timeoutMs: timeout * 1000,
      secrets: password === undefined ? [] : [password, credentials],
      http: caFile === undefined ? undefined : await httpClient(caFile),
      explain: () => undefined,
    }
    const headers = {
      'content-type': 'application/json',
      ...(password === undefined ? {} : { authorization: `Basic ${credentials}` }),
    }
    return {
      addTxt: (record, context, task) => post('/present', record, context, task),
      removeTxt: (record, context, task) => post('/cleanup', record, context, task),
    }

    async function post(path: string, record: TxtRecord, context: PluginContext, task?: ChallengeTask): Promise<void> {
      const body = JSON.stringify(
        mode === 'RAW' ? rawMessage(record, task) : { fqdn: `${record.fqdn}.`, value: record.value },
      )
      await callApi(settings, { method: 'POST', path, headers, body }, context)
    }
  },
}

function rawMessage(record: TxtRecord, task: ChallengeTask | undefined) {
  if (task === undefined) throw new ProblemError('serverInternal', 'httpreq in mode RAW needs the challenge')
  return { domain: domainOf(record, task), token: task.challenge.token, keyAuth: task.keyAuthorization }
}

function parseMode(text: string): 'default' | 'RAW' {
  const mode = text.toUpperCase()
  if (mode === 'RAW') return mode
  if (mode === 'DEFAULT') return 'default'
  throw new Error(`${JSON.stringify(text)} is neither default nor RAW`)
}
