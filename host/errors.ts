/** The one error class of the host. `code` is stable; the message says what was expected and got. */
export class BatonError extends Error {
  /** For example `ERR_BATON_CONFIG`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "BatonError";
    this.code = code;
  }
}
