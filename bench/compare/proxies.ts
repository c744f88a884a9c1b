/**
 * Configuration of the programs from elsewhere: nginx as the server behind everything, nginx and HAProxy as
 * balancers. Knows their languages; must not know what is measured. None of them logs requests, and Baton
 * does not either while it is compared (--quiet).
 */

/** Each takes two descriptors of a balancer and half a pipe: this fits under the usual limits. */
const CONNECTIONS_MAX = 7_000;
/** Longer than any measurement: nobody shall close what another system would keep. */
const IDLE_SECONDS = 600;

export const ORIGIN_PORT = 8081;

interface Place {
  /** Of configuration, pid and temporary files. */
  readonly folder: string;
  readonly name: string;
}

/** The server: files of `files`, and PUT /up, which reads the body before it answers. */
export function originConfig(place: Place, files: string): string {
  const server = `
    listen ${ORIGIN_PORT} backlog=4096;
    root ${files};
    open_file_cache max=16;
    location = /up {
      mirror /read;
      mirror_request_body on;
      error_page 403 404 405 =200 @ok;
    }
    location = /read { internal; return 204; }
    location @ok { return 200 "ok\\n"; }`;
  return nginxConfig(place, "sendfile on; tcp_nopush on;", server);
}

export function nginxProxyConfig(place: Place, port: number, origin: string): string {
  const server = `
    listen ${port} backlog=4096;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_read_timeout ${IDLE_SECONDS}s;
    }`;
  return nginxConfig(place, `upstream origin { server ${origin}; keepalive 64; }`, server);
}

/** In mode http as it comes; in mode tcp with splice(2) whenever it helps. */
export function haproxyConfig(mode: "http" | "tcp", port: number, origin: string): string {
  return `
global
  maxconn ${CONNECTIONS_MAX}
defaults
  mode ${mode}
  ${mode === "tcp" ? "option splice-auto" : ""}
  timeout connect 10s
  timeout client ${IDLE_SECONDS}s
  timeout server ${IDLE_SECONDS}s
  timeout http-keep-alive ${IDLE_SECONDS}s
frontend service
  bind :${port} backlog 4096
  default_backend origin
backend origin
  server origin ${origin}
`;
}

function nginxConfig({ folder, name }: Place, more: string, server: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${folder}/${name}-${kind};`,
  );
  return `
daemon off;
user root;
worker_processes auto;
pid ${folder}/${name}.pid;
error_log stderr crit;
events { worker_connections ${CONNECTIONS_MAX}; }
http {
  access_log off;
  default_type application/octet-stream;
  keepalive_timeout ${IDLE_SECONDS}s;
  keepalive_requests 1000000000;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  ${temporary.join("\n  ")}
  ${more}
  server {${server}
  }
}
`;
}
