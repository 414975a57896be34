#include "stress/crowd.h"

#include <cstring>

namespace stress {

using warren::Bytes;
using warren::Socket;

// --- Talker --------------------------------------------------------------------------------------

void Talker::talk(uint64_t bytes) {
  waiting_ = true;
  say(bytes);
}

void Talker::step() {
  if (broken() != 0) fail("a peer was cut: %s", std::strerror(broken()));
  if (!waiting_ || !answered()) return;
  waiting_ = false;
  ++done_;
}

void inTurn(Loop& loop, std::deque<Talker>& talkers, size_t window, const char* what, size_t& done,
            const std::function<void(Talker&)>& begin) {
  done = 0;
  for (size_t begun = 0; done < talkers.size();) {
    while (begun < talkers.size() && begun - done < window) begin(talkers[begun++]);
    progress("%s: %zu of %zu", what, done, talkers.size());
    loop.turn();
  }
}

// --- Pinger --------------------------------------------------------------------------------------

void Pinger::start(const Target& target) {
  dial(target);
  ping();
}

void Pinger::ping() {
  begin_ = now();
  say(size_);
}

void Pinger::step() {
  if (broken() != 0) fail("a pinger was cut: %s", std::strerror(broken()));
  if (!answered()) return;
  if (begin_ != 0) latencies_.push_back(now() - begin_);
  begin_ = 0;
  if (ended() && !halted_) fail("a pinger was ended");
  if (!halted_) ping();
}

Latency takeLatency(std::deque<Pinger>& pingers) {
  std::vector<double> all;
  for (Pinger& pinger : pingers) {
    all.insert(all.end(), pinger.latencies().begin(), pinger.latencies().end());
    pinger.latencies().clear();
  }
  const size_t count = all.size();
  return {quantile(std::move(all), 0.99) * 1e3, count};
}

void start(Loop& loop, std::deque<Pinger>& pingers, size_t count, size_t size,
           const Target& target) {
  while (pingers.size() < count) pingers.emplace_back(loop, size).start(target);
  for (Pinger& pinger : pingers) loop.until([&] { return !pinger.latencies().empty(); });
  takeLatency(pingers);
}

void end(Loop& loop, std::deque<Pinger>& pingers) {
  for (Pinger& pinger : pingers) pinger.halt();
  for (Pinger& pinger : pingers) {
    loop.until([&] { return pinger.idle(); });
    pinger.finish();
  }
  for (Pinger& pinger : pingers) {
    loop.until([&] { return pinger.ended(); });
    pinger.close();
  }
}

// --- Visitor -------------------------------------------------------------------------------------

void Visitor::visit() {
  if (tally_.begun == tally_.goal) return;
  number_ = tally_.begun++;
  dial(number_ % 4 == 1 ? tally_.hangUp : tally_.echo);
  say(kWord);
}

void Visitor::step() {
  if (broken() != 0) fail("visit %zu was cut: %s", number_, std::strerror(broken()));
  if (!answered()) return;
  if (number_ % 4 > 1) {
    ++tally_.resets;
    reset();
    return leave();
  }
  if (number_ % 4 == 0 || ended()) finish();
  if (ended()) leave();
}

void Visitor::leave() {
  close();
  ++tally_.done;
  visit();
}

warren::SocketHandlers<> hangUpAfterAWord() {
  return {.data = [](Socket<> socket, Bytes bytes) {
    socket.send(bytes);
    if (socket.bytesRead() >= Visitor::kWord) socket.end();
  }};
}

// --- Rogue ---------------------------------------------------------------------------------------

namespace {
constexpr uint64_t kALot = uint64_t{32} << 20;  // more than the kernel takes
}

const char* Rogue::name(size_t plan) {
  static constexpr std::array<const char*, kPlans> names = {
      "reset at once",   "reset in the middle", "reset, input unread", "FIN at once",
      "FIN behind data", "FIN, then reset",     "close, input unread", "send, take nothing"};
  return names.at(plan);
}

void Rogue::begin() {
  if (tally_.begun == tally_.goal) return;
  plan_ = static_cast<Plan>(tally_.random() % kPlans);
  ++tally_.begun;
  ++tally_.plans[plan_];
  setReading(plan_ != resetUnread && plan_ != closeUnread && plan_ != takeNothing);
  dial(tally_.targets[tally_.random() % tally_.targets.size()]);
  if (plan_ == takeNothing) {
    say(kALot);
  } else if (plan_ != resetAtOnce && plan_ != endAtOnce) {
    say(1 + tally_.random() % (size_t{256} << 10));
  }
  if (plan_ == endAtOnce || plan_ == endAfterAll || plan_ == endAndReset) finish();
}

bool Rogue::through() const {
  switch (plan_) {
    case resetInTheMiddle:
      return received() >= goal() / 2;
    case resetUnread:
    case closeUnread:
      return sent() > 0;
    case takeNothing:
      return sent() >= kALot / 256;
    case endAndReset:
      return received() > 0;
    case endAtOnce:  // in TLS it ends the handshake, which is an error
      return ended() || broken() != 0;
    case endAfterAll:
      return ended();
    default:
      return true;
  }
}

void Rogue::step() {
  if (!open() || !through()) {
    if (broken() != 0) fail("a peer (%s) was cut: %s", name(plan_), std::strerror(broken()));
    return;
  }
  if (plan_ == endAfterAll && !answered()) fail("an end came before all was said");
  plan_ == closeUnread || plan_ == endAtOnce || plan_ == endAfterAll ? close() : reset();
  ++tally_.done;
  begin();
}

}  // namespace stress
