/** One key of a plugin's section: parses the text, and documents itself in `acmems config-reference`. */
export type Option<T> = {
  readonly meaning: string
  /** The kind of value, for the reference: `text`, `path`, `seconds` … */
  readonly type: string
  /** As it would be written; read when the key is absent. */
  readonly default?: string
  readonly required?: boolean
  /** The key may be repeated; the option is then an array. */
  readonly list?: boolean
  /** Never shown; can be given as `KEY-file` and `${ENV:NAME}` too. */
  readonly secret?: boolean
  /** @throws Error with a sentence for the operator */
  parse(text: string): T
}

export type Options = { readonly [key: string]: Option<unknown> }

export type OptionValues<O extends Options> = {
  readonly [K in keyof O]: O[K] extends Option<infer T>
    ? O[K] extends { readonly list: true }
      ? readonly T[]
      : O[K] extends { readonly required: true } | { readonly default: string }
        ? T
        : T | undefined
    : never
}
