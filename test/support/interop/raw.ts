/** Ports of the service in the interoperation matrix; "other" protocols go to iperf3, wherever they come. */
export const HTTP_PORT = 80;
export const HTTPS_PORT = 443;
export const RAW_PORT = 9;
export const IPERF_PORT = 5201;
