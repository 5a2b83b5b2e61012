// Which URL is what, learned from the CA's own answers: nothing is known from how a URL looks, except as a last resort.
import { isJsonObject, type JsonObject } from '../../src/acme/json-object.ts'
import type { EndpointKind } from './rule.ts'

export type EndpointMap = {
  kindOf(path: string): EndpointKind
  /** What an answer tells about other endpoints. */
  learn(
    from: EndpointKind,
    answer: { readonly location?: string; readonly links: string; readonly body: unknown },
  ): void
}

const directoryMembers = ['newNonce', 'newAccount', 'newOrder', 'revokeCert', 'keyChange', 'renewalInfo'] as const

/** Of Pebble, for requests about what was made before this proxy began to listen. */
const pebbleFolders: readonly (readonly [string, EndpointKind])[] = [
  ['/my-order', 'order'],
  ['/my-account', 'account'],
  ['/authZ', 'authorization'],
  ['/chalZ', 'challenge'],
  ['/finalize-order', 'finalize'],
  ['/certZ', 'certificate'],
  ['/list-orderz', 'orders'],
]

export function createEndpointMap(directoryPath: string): EndpointMap {
  const known = new Map<string, EndpointKind>([[directoryPath, 'directory']])
  const folders = new Map(pebbleFolders)
  const renewalInfoPaths = new Set<string>()

  function note(url: unknown, kind: EndpointKind): void {
    if (typeof url !== 'string' || !URL.canParse(url)) return
    const { pathname, search } = new URL(url)
    if (kind === 'renewalInfo') renewalInfoPaths.add(pathname.replace(/\/$/, ''))
    known.set(pathname + search, kind)
  }

  function noteAll(urls: unknown, kind: EndpointKind): void {
    if (Array.isArray(urls)) for (const url of urls) note(url, kind)
  }

  function learnFromOrder(body: JsonObject): void {
    noteAll(body.authorizations, 'authorization')
    note(body.finalize, 'finalize')
    note(body.certificate, 'certificate')
  }

  return {
    kindOf(path) {
      const exact = known.get(path)
      if (exact !== undefined) return exact
      const pathname = path.replace(/\?.*$/s, '')
      // The certificate's identifier is appended (RFC 9773 §4.1).
      const folder = pathname.slice(0, pathname.lastIndexOf('/'))
      if (renewalInfoPaths.has(folder)) return 'renewalInfo'
      return known.get(pathname) ?? folders.get(folder) ?? 'other'
    },
    learn(from, { location, links, body }) {
      const object = isJsonObject(body) ? body : {}
      switch (from) {
        case 'directory':
          for (const member of directoryMembers) note(object[member], member)
          break
        case 'newOrder':
          note(location, 'order')
          learnFromOrder(object)
          break
        case 'order':
        case 'finalize':
          learnFromOrder(object)
          break
        case 'authorization':
          for (const challenge of Array.isArray(object.challenges) ? object.challenges : [])
            if (isJsonObject(challenge)) note(challenge.url, 'challenge')
          break
        case 'newAccount':
        case 'account':
          note(location, 'account')
          note(object.orders, 'orders')
          break
        case 'orders':
          noteAll(object.orders, 'order')
          for (const url of linksOf(links, 'next')) note(url, 'orders')
          break
        case 'certificate':
          for (const url of linksOf(links, 'alternate')) note(url, 'certificate')
          break
        default:
      }
    },
  }
}

function linksOf(links: string, relation: string): string[] {
  return [...links.matchAll(/<([^>]*)>\s*;\s*rel="?([a-z-]+)"?/gi)].flatMap(([, url = '', name]) =>
    name === relation ? [url] : [],
  )
}
