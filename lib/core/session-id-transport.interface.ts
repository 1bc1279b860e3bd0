/** What a transport may read of a request. */
export interface TransportRequest {
  header(name: string): string | undefined;
  /** True if the client's connection is encrypted, as far as the adapter trusts its proxies. */
  readonly secure: boolean;
  /** The client's network address, as far as the adapter trusts its proxies. */
  readonly address: string | undefined;
}

/** What a transport may write to a response. */
export interface TransportResponse {
  /** A header so far. */
  header(name: string): string | number | readonly string[] | undefined;
  /** Adds a value to a header. */
  append(name: string, value: string): void;
  /** Sets a header, whatever it was. */
  replace(name: string, value: string): void;
}

/** Where a session's token comes from and goes to. */
export interface SessionIdTransport {
  /**
   * Only a script of the application sends the token, such as in a header of its own; no browser does so
   * by itself. Then no other site can make one send it, and `SessionCsrfGuard` lets pass what came this way.
   *
   * @default false
   */
  readonly explicit?: boolean;
  /** All tokens that came this way; usually none or one. */
  read(request: TransportRequest): readonly string[];
  /**
   * Hands the client its token, and says in `Vary` what the answer depends on.
   *
   * @param endsAt the session's absolute end, in milliseconds since the epoch
   * @param lasting the session was to be remembered: the client should keep the token until then
   */
  write(
    request: TransportRequest,
    response: TransportResponse,
    token: string,
    endsAt: number,
    lasting: boolean,
  ): void;
  /** Makes the client forget its token. */
  clear(request: TransportRequest, response: TransportResponse): void;
}
