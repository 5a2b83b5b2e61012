// What the documents show: fenced blocks behind a mark `<!-- test: NAME -->`.
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const checkout = resolve(import.meta.dirname, '..')

export type Snippet = { readonly file: string; readonly mark: string; readonly language: string; readonly text: string }

export function readSnippets(file: string): Snippet[] {
  const text = readFileSync(join(checkout, file), 'utf8')
  return [...text.matchAll(/<!-- test: ([^>]+?) -->\s*\n```(\w+)\n([\s\S]*?)```/g)].map(
    ([, mark = '', language = '', body = '']) => ({ file, mark, language, text: body }),
  )
}

export function readSnippet(file: string, mark: string): string {
  const snippet = readSnippets(file).find((candidate) => candidate.mark === mark)
  if (snippet === undefined) throw new Error(`${file} has no block marked "${mark}"`)
  return snippet.text
}
