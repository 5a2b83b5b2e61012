import { isJsonObject, type JsonObject } from '../../acme/json-object.ts'
import { ProblemError } from '../../acme/problem.ts'
import type { PluginContext } from '../../plugin-api.ts'
import { type ApiRequest, type ApiSettings, callApi } from './http-api.ts'

export type JsonReply = { readonly status: number; readonly document: JsonObject }
export type JsonRequest = Omit<ApiRequest, 'headers' | 'body' | 'forgive'> & {
  readonly json?: unknown
  /** A refusal that says that all is as it should be. */
  forgive?(document: JsonObject): boolean
}

/** A provider's API that speaks JSON. */
export type JsonApi = (request: JsonRequest, context: PluginContext) => Promise<JsonReply>

export type JsonApiSettings = Omit<ApiSettings, 'explain'> & {
  readonly headers: Readonly<Record<string, string>>
  /** The words in a document that refuses. */
  explain(document: JsonObject): string | undefined
}

export function createJsonApi({ headers, explain, ...settings }: JsonApiSettings): JsonApi {
  const shared: ApiSettings = {
    ...settings,
    explain(text) {
      const document = parseJson(text)
      return isJsonObject(document) ? explain(document) : undefined
    },
  }
  return async ({ json, forgive, ...request }, context) => {
    const lenience = forgive === undefined ? {} : { forgive: (text: string) => forgive(objectIn(parseJson(text))) }
    const body =
      json === undefined
        ? {}
        : { body: JSON.stringify(json), headers: { ...headers, 'content-type': 'application/json' } }
    const reply = await callApi(shared, { headers, ...request, ...lenience, ...body }, context)
    const text = Buffer.from(reply.body).toString('utf8')
    const document = text.trim() === '' ? {} : parseJson(text)
    // A list is an answer, too; it is found under "list".
    if (Array.isArray(document)) return { status: reply.status, document: { list: document } }
    if (isJsonObject(document)) return { status: reply.status, document }
    if (reply.status >= 300) return { status: reply.status, document: {} }
    throw new ProblemError('dns', `${settings.provider} (${settings.endpoint}) sent something that is no JSON object`, {
      retry: { when: 'backoff' },
    })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** The objects of a list, whatever else is in it. */
export function objectsIn(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : []
}

export function objectIn(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {}
}

export function textIn(value: unknown): string {
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' ? value : ''
}

/** A part of a path. A name may not leave its place. */
export function pathPart(text: string): string {
  return text === '.' || text === '..' ? '_' : encodeURIComponent(text)
}
