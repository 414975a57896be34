#include "net/options.h"

#include <optional>
#include <string>
#include <utility>

#include "net/proxy_protocol.h"
#include "os/sys.h"

namespace warren::net {

namespace {

Error refusal(Usage code, std::string text) { return {code, Step::options, std::move(text)}; }

// One way to say where, and all of it.
Result<void> checkPlace(const std::string& hostname, std::optional<int> port,
                        const std::string& unix, std::optional<int> fd) {
  const int ways = int{!hostname.empty()} + int{!unix.empty()} + int{fd.has_value()};
  if (ways == 0) {
    return refusal(Usage::missing, "one of hostname, unix and fd is required, and not empty");
  }
  if (ways > 1) {
    return refusal(Usage::conflict, "only one of hostname, unix and fd may be given");
  }
  if (fd && *fd < 0) {
    return refusal(Usage::outOfRange, "fd " + std::to_string(*fd) + " is no descriptor");
  }
  if (hostname.empty()) {
    if (port) return refusal(Usage::conflict, "port goes with hostname only");
    return {};
  }
  if (hostname.find('\0') != std::string::npos) {
    return refusal(Usage::invalid, "hostname has a NUL byte in it");
  }
  if (!port) return refusal(Usage::missing, "port is required with hostname");
  if (*port < 0 || *port > 65535) {
    return refusal(Usage::outOfRange, "port " + std::to_string(*port) + " is outside 0..65535");
  }
  return {};
}

Result<void> checkSocket(const detail::SocketRequest& socket) {
  if (Result<void> handlers = checkHandlers(socket.handlers); !handlers) return handlers;
  if (socket.policy.highWaterMark > socket.policy.maxQueued) {
    return refusal(Usage::outOfRange,
                   "highWaterMark " + std::to_string(socket.policy.highWaterMark) +
                       " is above maxQueued " + std::to_string(socket.policy.maxQueued));
  }
  return checkDuration(socket.policy.linger.timeout, "linger.timeout");
}

Result<void> checkProxies(const ProxyProtocol& proxies) {
  constexpr size_t kShortest = 107;  // of a limit: any version 1 header fits
  constexpr size_t kLongest = 16 + 65535;
  if (proxies.maxHeader < kShortest || proxies.maxHeader > kLongest) {
    return refusal(
        Usage::outOfRange,
        "proxyProtocol.maxHeader " + std::to_string(proxies.maxHeader) + " is outside 107..65551");
  }
  for (const std::string& text : proxies.trusted) {
    if (!parseNetwork(text)) {
      return refusal(Usage::invalid, "proxyProtocol.trusted \"" + text + "\" is no network");
    }
  }
  return {};
}

// Whose peers have no address and are trusted without one.
bool listensOnUnix(const detail::ListenRequest& request) {
  return request.fd ? os::sys::localAddress(*request.fd).family() == Family::unix
                    : !request.unix.empty();
}

Result<void> checkHeader(const ProxyHeader& header) {
  constexpr size_t kRoom = 65535 - 36;  // beside two IPv6 addresses
  if (header.version != 1 && header.version != 2) {
    return refusal(Usage::outOfRange, "proxyProtocol.version " + std::to_string(header.version) +
                                          " is neither 1 nor 2");
  }
  if (header.version == 1 && !header.tlvs.empty()) {
    return refusal(Usage::conflict, "proxyProtocol.tlvs need version 2");
  }
  const Family source = header.source.family();
  const Family destination = header.destination.family();
  if (source == Family::unix || destination == Family::unix) {
    return refusal(Usage::invalid, "proxyProtocol takes no unix addresses");
  }
  const bool both = source != Family::none && destination != Family::none;
  if (both && source != destination) {
    return refusal(Usage::invalid,
                   "proxyProtocol.source and destination are of different families");
  }
  size_t size = 0;
  size_t checksums = 0;
  for (const ProxyTlv& tlv : header.tlvs) {
    const bool checksum = tlv.type == kProxyChecksum;
    checksums += checksum ? 1 : 0;
    size += 3 + (checksum ? kProxyChecksumSize : tlv.value.size());
  }
  if (checksums > 1) return refusal(Usage::invalid, "proxyProtocol.tlvs has two checksums");
  if (size <= kRoom) return {};
  return refusal(Usage::outOfRange, "proxyProtocol.tlvs of " + std::to_string(size) +
                                        " bytes are above " + std::to_string(kRoom));
}

}  // namespace

Result<void> checkHandlers(const HandlerTable& handlers) {
  if (handlers.usable()) return {};
  return refusal(Usage::missing, "socket needs a `data` or a `drain` handler");
}

Result<void> checkDuration(Duration duration, const char* name) {
  if (duration.valid()) return {};
  return refusal(Usage::outOfRange, std::string(name) + " " + duration.problem());
}

Result<void> checkOptions(const detail::ListenRequest& request) {
  if (Result<void> place = checkPlace(request.hostname, request.port, request.unix, request.fd);
      !place) {
    return place;
  }
  if (request.exclusive && request.reusePort) {
    return refusal(Usage::conflict, "exclusive and reusePort exclude each other");
  }
  if (request.backlog < 1) {
    return refusal(Usage::outOfRange, "backlog " + std::to_string(request.backlog) + " is below 1");
  }
  if (request.proxyProtocol) {
    if (Result<void> proxies = checkProxies(*request.proxyProtocol); !proxies) return proxies;
    if (request.proxyProtocol->trusted.empty() && !listensOnUnix(request)) {
      return refusal(Usage::missing, "proxyProtocol.trusted is empty");
    }
  }
  return checkSocket(request.socket);
}

Result<void> checkOptions(const detail::ConnectRequest& request) {
  if (Result<void> place = checkPlace(request.hostname, request.port, request.unix, request.fd);
      !place) {
    return place;
  }
  if (Result<void> time = checkDuration(request.connectTimeout, "connectTimeout"); !time) {
    return time;
  }
  if (request.proxyProtocol) {
    if (Result<void> header = checkHeader(*request.proxyProtocol); !header) return header;
  }
  return checkSocket(request.socket);
}

}  // namespace warren::net
