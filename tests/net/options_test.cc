#include "net/options.h"

#include <limits>
#include <string>

#include "support/catch.h"

namespace warren::net {
namespace {

detail::SocketRequest someSocket() {
  detail::SocketRequest socket;
  socket.handlers.data = [](SocketHandle, Bytes) {};
  socket.policy = {.highWaterMark = 10, .maxQueued = 100, .linger = {}};
  return socket;
}

detail::ListenRequest listenRequest() {
  detail::ListenRequest request;
  request.socket = someSocket();
  request.hostname = "localhost";
  request.port = 80;
  request.backlog = 1;
  return request;
}

detail::ConnectRequest connectRequest() {
  detail::ConnectRequest request;
  request.socket = someSocket();
  request.hostname = "localhost";
  request.port = 80;
  return request;
}

template <class Request>
void refuses(const Request& request, Usage code, const std::string& words) {
  const Result<void> checked = checkOptions(request);
  REQUIRE_FALSE(checked);
  REQUIRE(checked.error().is(code));
  REQUIRE(checked.error().step() == Step::options);
  REQUIRE(checked.error().message().find(words) != std::string::npos);
}

TEST_CASE("ordinary options are fine") {
  REQUIRE(checkOptions(listenRequest()));
  REQUIRE(checkOptions(connectRequest()));
}

TEST_CASE("where is said in exactly one way") {
  detail::ListenRequest request = listenRequest();
  request.hostname.clear();
  request.port.reset();
  refuses(request, Usage::missing, "hostname, unix and fd");
  request.unix = "/run/a";
  REQUIRE(checkOptions(request));
  request.fd = 3;
  refuses(request, Usage::conflict, "only one");
  request.unix.clear();
  REQUIRE(checkOptions(request));
  request.port = 80;
  refuses(request, Usage::conflict, "port");
  request.hostname = "localhost";
  refuses(request, Usage::conflict, "only one");
}

TEST_CASE("ports are from 0 to 65535, and required") {
  detail::ConnectRequest request = connectRequest();
  for (const int port : {0, 1, 65535}) {
    request.port = port;
    REQUIRE(checkOptions(request));
  }
  for (const int port : {-1, 65536, std::numeric_limits<int>::max()}) {
    request.port = port;
    refuses(request, Usage::outOfRange, std::to_string(port));
  }
  request.port.reset();
  refuses(request, Usage::missing, "port");
}

TEST_CASE("a host name has no NUL byte, a descriptor is not negative") {
  detail::ConnectRequest request = connectRequest();
  request.hostname = std::string("local\0host", 10);
  refuses(request, Usage::invalid, "NUL");
  request = connectRequest();
  request.hostname.clear();
  request.port.reset();
  request.fd = -1;
  refuses(request, Usage::outOfRange, "-1");
}

TEST_CASE("exclusive excludes reusePort, and a backlog holds at least one") {
  detail::ListenRequest request = listenRequest();
  request.exclusive = true;
  REQUIRE(checkOptions(request));
  request.reusePort = true;
  refuses(request, Usage::conflict, "exclusive");
  request = listenRequest();
  for (const int backlog : {0, -1, std::numeric_limits<int>::min()}) {
    request.backlog = backlog;
    refuses(request, Usage::outOfRange, "backlog " + std::to_string(backlog));
  }
}

TEST_CASE("a handler table has data or drain") {
  detail::ConnectRequest request = connectRequest();
  request.socket.handlers = {};
  refuses(request, Usage::missing, "drain");
  request.socket.handlers.drain = [](SocketHandle) {};
  REQUIRE(checkOptions(request));
  HandlerTable empty;
  REQUIRE(checkHandlers(empty).error().is(Usage::missing));
}

TEST_CASE("highWaterMark is not above maxQueued") {
  detail::ListenRequest request = listenRequest();
  request.socket.policy.maxQueued = 10;
  REQUIRE(checkOptions(request));
  request.socket.policy.maxQueued = 9;
  refuses(request, Usage::outOfRange, "highWaterMark 10 is above maxQueued 9");
}

TEST_CASE("spans of time are named when they mean nothing") {
  detail::ConnectRequest request = connectRequest();
  request.connectTimeout = std::chrono::seconds(-1);
  refuses(request, Usage::outOfRange, "connectTimeout");
  request = connectRequest();
  request.socket.policy.linger.timeout = std::chrono::hours(24 * 366 * 101);
  refuses(request, Usage::outOfRange, "linger.timeout");
  REQUIRE(checkDuration(std::chrono::seconds(0), "any"));
}

}  // namespace
}  // namespace warren::net
