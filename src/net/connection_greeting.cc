// Connection: the PROXY protocol header before everything else.
#include <cerrno>
#include <string>
#include <utility>

#include "base/poison.h"
#include "net/hot_path.h"

namespace warren::net {

namespace {

constexpr uint64_t kGreetingTime = 10'000;  // milliseconds

}  // namespace

Result<void> Connection::greet(os::Fd fd, const Address& peer, size_t maxHeader) {
  fd_ = fd.release();
  setRemote(peer);
  if (peer.family() == Family::unix) set(kUnix);
  if (cell_->tls != nullptr) beginHandshake();  // it takes the place of one from here on
  state_ = State::greeting;
  Cold* cold = needCold();
  TimerSlot* timer = reactor().timers().start(TimerKind::socketDeadline, index, kGreetingTime);
  if (timer != nullptr) deadline_ = timer->index;
  if (cold == nullptr || timer == nullptr) {
    finish({});
    return Error(Origin::kernel, ENOMEM, Step::proxy);
  }
  cold->greeting = std::make_unique<ProxyParser>(maxHeader);
  return {};
}

// Looks before it takes: what follows the header is the user's, and may have to wait for `resume`.
void Connection::readGreeting() {
  const std::span<std::byte> buffer = reactor().receiveBuffer();
  base::unpoison(buffer);
  ProxyParser& parser = *cold()->greeting;
  for (;;) {
    const os::sys::Answer seen = os::sys::peek(fd_, buffer);
    if (os::sys::blocked(seen)) return clear(kReadable);
    if (seen <= 0) return refuseGreeting("the connection ended before it");
    const size_t taken = parser.feed(buffer.first(static_cast<size_t>(seen)));
    if (parser.stage() == ProxyParser::Stage::malformed) return refuseGreeting(parser.problem());
    // A header that was looked at and not taken would be the user's first bytes.
    for (size_t left = taken; left > 0;) {
      const os::sys::Answer count = os::sys::recv(fd_, buffer.first(left));
      if (count <= 0) return refuseGreeting("the connection ended before it");
      left -= static_cast<size_t>(count);
    }
    if (parser.stage() == ProxyParser::Stage::done) return greeted();
  }
}

void Connection::greeted() {
  Address peer = remoteAddress();
  cold()->proxied = std::make_unique<ProxyHeader>(cold()->greeting->header());
  cold()->greeting.reset();
  reactor().timers().cancel(deadline_);
  if (!cold()->proxied->local) peer = cold()->proxied->source;
  connected(os::Fd(std::exchange(fd_, -1)), peer, false);
  if (mayRead()) reactor().ready(*this);
}

void Connection::refuseGreeting(std::string_view problem) {
  const Error error(Origin::kernel, EPROTO, Step::proxy,
                    remoteAddress().text() + ": " + std::string(problem));
  Listener* listener = reactor().findListener(cell_->listener);
  set(kReset);
  finish(error);
  if (listener != nullptr) listener->report(error);
}

}  // namespace warren::net
