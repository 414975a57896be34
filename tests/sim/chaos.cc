// What goes wrong in the simulated kernel by chance.
#include <algorithm>
#include <cerrno>

#include "state.h"

namespace warren::sim {

uint64_t Kernel::State::below(uint64_t limit) {
  // SplitMix64: every seed is a good one.
  uint64_t mixed = random += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return (mixed ^ (mixed >> 31)) % limit;
}

bool Kernel::State::chance(unsigned Chaos::*often) {
  return chaos && (*chaos).*often > 0 && below(1000) < (*chaos).*often;
}

namespace {

template <size_t Count>
int oneOf(Kernel::State& kernel, const int (&errors)[Count]) {
  return errors[kernel.below(Count)];
}

int noRoom(Kernel::State& kernel) { return oneOf(kernel, {EMFILE, ENFILE, ENOBUFS, ENOMEM}); }

// From one byte to more than anybody reads at once, short ones as often as long ones.
size_t anyLength(Kernel::State& kernel) {
  return 1 + static_cast<size_t>(kernel.below(uint64_t{1} << kernel.below(17)));
}

// A reset from the network reaches both ends.
void cutCable(KernelSocket* socket) {
  if (socket == nullptr || socket->phase != Phase::connected || socket->family == Family::unix)
    return;
  KernelSocket* other = socket->other;
  breakSocket(*socket, socket->finReceived ? EPIPE : ECONNRESET);
  if (other != nullptr) breakSocket(*other, other->finReceived ? EPIPE : ECONNRESET);
}

void dieInQueue(Kernel::State& kernel, KernelSocket* listener) {
  if (listener == nullptr || listener->phase != Phase::listening) return;
  if (KernelSocket* taken = takeAccepted(kernel, *listener)) closeSocket(kernel, *taken, true);
}

}  // namespace

Fault Kernel::State::byChance(Call call, int fd) {
  if (!chaos) return {};
  switch (call) {
    case Call::recv:
      if (chance(&Chaos::resets)) cutCable(find(fd));
      if (chance(&Chaos::refusals)) return {.error = EAGAIN};
      if (chance(&Chaos::shortReads)) return {.limit = anyLength(*this)};
      return {};
    case Call::send:
    case Call::sendSegments:
      if (chance(&Chaos::resets)) cutCable(find(fd));
      if (chance(&Chaos::noBuffers)) return {.error = oneOf(*this, {ENOBUFS, ENOMEM})};
      if (chance(&Chaos::refusals)) return {.error = EAGAIN};
      if (chance(&Chaos::shortWrites)) return {.limit = anyLength(*this)};
      return {};
    case Call::shutdown:
      if (chance(&Chaos::resets)) cutCable(find(fd));
      return {};
    case Call::accept:
      if (chance(&Chaos::noDescriptors)) return {.error = noRoom(*this)};
      if (!chance(&Chaos::aborts)) return {};
      dieInQueue(*this, find(fd));
      return {.error = ECONNABORTED};
    case Call::socket:
    case Call::spare:
      if (chance(&Chaos::noDescriptors)) return {.error = noRoom(*this)};
      return {};
    case Call::add:
    case Call::retoken:
      if (chance(&Chaos::noDescriptors)) return {.error = oneOf(*this, {ENOMEM, ENOSPC})};
      return {};
    case Call::wait:
      if (chance(&Chaos::interrupts)) return {.error = EINTR};
      return {};
    default:
      return {};
  }
}

Plan Kernel::State::connectByChance() {
  Plan plan;
  const bool fails = chance(&Chaos::failedConnects);
  if (fails) plan.error = oneOf(*this, {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH});
  plan.atOnce = fails && below(4) == 0;
  if (chance(&Chaos::slowConnects)) plan.delay = Nanoseconds(below(100'000'000));
  return plan;
}

// Events that are no news, and news in another order. None of them says that something is over which
// is not: that would be a lie, not a hint.
void Kernel::State::disturb(Queue& queue) {
  if (!chaos) return;
  std::vector<os::Event>& told = queue.told;
  const auto any = [this](size_t count) { return static_cast<size_t>(below(count)); };
  if (!told.empty() && chance(&Chaos::duplicates)) told.push_back(told[any(told.size())]);
  if (!queue.entries.empty() && chance(&Chaos::spurious)) {
    const size_t place = any(queue.entries.size());
    const Entry& entry =
        *std::next(queue.entries.begin(), static_cast<std::ptrdiff_t>(place))->second;
    const bool stream = entry.watch == os::Watch::stream;
    const bool readable = below(2) == 0 || !stream;
    const bool writable = stream && below(2) == 0;
    const bool ended = stream && below(2) == 0;
    told.push_back({readyBits(readable, writable, ended, false), entry.token});
  }
  if (!closedTokens.empty() && chance(&Chaos::strays)) {
    const uint64_t token = closedTokens[any(closedTokens.size())];
    const bool again = std::any_of(queue.entries.begin(), queue.entries.end(),
                                   [&](const auto& each) { return each.second->token == token; });
    told.push_back({readyBits(true, true, true, !again), token});
  }
  if (!chance(&Chaos::shuffles)) return;
  for (size_t left = told.size(); left > 1; --left) std::swap(told[left - 1], told[any(left)]);
}

}  // namespace warren::sim
