import type { RequestListener } from 'node:http'

/** A door and what it is for: exactly this path, or, where it ends with a slash, everything below. */
export type PathDoor = { readonly path: string; readonly door: RequestListener }

/**
 * Several doors at one listener. Paths are compared as they were sent, so that a proxy in front sees the same path as
 * we do; the query is not part of them. The first door's path is compared first and alone: it is the busy one.
 * @param first gets what belongs to nobody, too, and says so
 */
export function createPathDoors(first: PathDoor, others: readonly PathDoor[]): RequestListener {
  return (request, response) => {
    const url = request.url ?? ''
    const found = url === first.path ? first : others.find(({ path }) => isAt(url, path))
    const { door } = found ?? first
    door(request, response)
  }
}

function isAt(url: string, path: string): boolean {
  if (!url.startsWith(path)) return false
  return path.endsWith('/') || url.length === path.length || url[path.length] === '?'
}
