/**
 * What looking at our own answer showed. `wrong` stops the order before the CA is told, so it MUST mean that a validator
 * would see the same; whatever cannot be told from here is `unknown`, and the CA decides. Reasons are for people.
 */
export type CheckFinding =
  | { readonly outcome: 'visible' }
  | { readonly outcome: 'wrong'; readonly reason: string }
  | { readonly outcome: 'unknown'; readonly reason: string }
