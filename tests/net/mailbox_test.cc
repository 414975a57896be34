#include "net/mailbox.h"

#include <string>

#include "support/catch.h"

namespace warren::net {
namespace {

struct Fixture {
  os::Poller poller = os::Poller::make().value();
  Mailbox mailbox{poller};
  std::string ran;

  Callback<> noting(char name) {
    return [this, name] { ran += name; };
  }
  void runAll(const std::vector<Callback<>>& functions) {
    for (const Callback<>& function : functions) function();
  }
};

TEST_CASE("what was posted is taken once, in order") {
  Fixture fixture;
  REQUIRE_FALSE(fixture.mailbox.hasPosted());
  for (const char name : {'a', 'b', 'c'}) fixture.mailbox.post(fixture.noting(name));
  REQUIRE(fixture.mailbox.hasPosted());
  std::vector<Callback<>> taken;
  fixture.mailbox.take(taken);
  REQUIRE_FALSE(fixture.mailbox.hasPosted());
  fixture.runAll(taken);
  REQUIRE(fixture.ran == "abc");
  std::vector<Callback<>> none;
  fixture.mailbox.take(none);
  REQUIRE(none.empty());
}

TEST_CASE("what was posted comes behind what is there") {
  Fixture fixture;
  std::vector<Callback<>> functions{fixture.noting('1')};
  fixture.mailbox.post(fixture.noting('2'));
  fixture.mailbox.take(functions);
  fixture.mailbox.post(fixture.noting('3'));
  fixture.mailbox.take(functions);
  fixture.runAll(functions);
  REQUIRE(fixture.ran == "123");
}

TEST_CASE("stop is taken once, with the code of the last order") {
  Fixture fixture;
  REQUIRE_FALSE(fixture.mailbox.stopped());
  REQUIRE(fixture.mailbox.takeStop() == 0);
  fixture.mailbox.stop(3);
  fixture.mailbox.stop(4);
  REQUIRE(fixture.mailbox.stopped());
  REQUIRE(fixture.mailbox.takeStop() == 4);
  REQUIRE_FALSE(fixture.mailbox.stopped());
  REQUIRE(fixture.mailbox.takeStop() == 0);
}

TEST_CASE("post and stop end a wait") {
  Fixture fixture;
  fixture.mailbox.post(fixture.noting('a'));
  fixture.poller.wait(10'000);
  fixture.mailbox.stop(0);
  fixture.poller.wait(10'000);
}

}  // namespace
}  // namespace warren::net
