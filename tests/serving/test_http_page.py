"""The page in a real browser: what people click is asked, and what comes back is shown as text."""

import json
import shutil

import pytest

from tests.serving.http_service import FEW, TOKEN, running

webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is not installed')
CHROMIUM, DRIVER = shutil.which('chromium') or shutil.which('google-chrome'), shutil.which('chromedriver')
pytestmark = pytest.mark.skipif(not CHROMIUM or not DRIVER, reason='chromium and chromedriver are not installed')
EVIL = '<img src=x onerror="document.title=\'broken\'"><b>bold</b>'
KEPT = '<xss onfocus="self[`document`][`title`]=`broken`" autofocus tabindex=1>'  # is not taken out of titles


@pytest.fixture(scope='module')
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1200,1000'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    found = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield found
    found.quit()


@pytest.fixture
def page(browser, service):
    """The page, as somebody new sees it."""
    browser.get(f'http://{service.host}:{service.port}/')
    wait(browser, lambda: len(rows(browser, '#list li')) == 10)
    return browser


def rows(browser, where):
    return browser.find_elements('css selector', where)


def wait(browser, ready):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait
    # What is looked at may be replaced meanwhile: it is looked at again.
    WebDriverWait(browser, 20, ignored_exceptions=(StaleElementReferenceException,)).until(lambda _: ready())


def search(browser, words, many):
    field = browser.find_element('id', 'words')
    field.clear()
    field.send_keys(words)
    wait(browser, lambda: len(rows(browser, '#found li')) == many and all(
        word in row.text for row in rows(browser, '#found li') for word in words.split()))


def shown(browser):
    """Titles of the list."""
    return [row.text for row in rows(browser, '#list .name')]


def titles(said):
    return [item['title'] for item in said['items']]


def check_list(page, service, history):
    expected = titles(service.post('/recommend', history=history, k=10)[1])
    wait(page, lambda: shown(page) == expected)


@pytest.mark.slow
def test_a_history_is_clicked_together_and_the_list_follows(page, service):
    check_list(page, service, [])
    assert page.find_element('id', 'list-title').text == 'Chosen most'
    search(page, 'thing03', 1)
    rows(page, '#found button')[0].click()
    check_list(page, service, ['i003'])
    search(page, 'shelf1', 6)
    rows(page, '#found button')[2].click()
    check_list(page, service, ['i003', 'i008'])
    assert page.find_element('id', 'list-title').text == 'Recommended'
    assert [row.text for row in rows(page, '#history .name')] == ['thing03 of shelf0 and row3',
                                                                   'thing08 of shelf1 and row2']
    rows(page, '#history button')[0].click()
    check_list(page, service, ['i008'])
    page.find_element('id', 'clear').click()
    check_list(page, service, [])
    assert not rows(page, '#trouble:not([hidden])')


@pytest.mark.slow
def test_a_click_says_why(page, service):
    search(page, 'thing03', 1)
    rows(page, '#found button')[0].click()
    check_list(page, service, ['i003'])
    first = service.post('/recommend', history=['i003'])[1]['items'][0]
    said = service.post('/explain', history=['i003'], item=first['item_id'])[1]
    rows(page, '#list .row')[0].click()
    wait(page, lambda: len(rows(page, '.why .bar')) == 3)
    assert [bar.text.split()[-2] for bar in rows(page, '.why .bar')] == [
        str(round(100 * gate)) for gate in said['gates'].values()]
    near = said['nearest_in_history'] + said['neighbours']
    assert [row.text.splitlines()[0] for row in rows(page, '.why .near')] == [item['title'] for item in near]
    rows(page, '#list .row')[0].click()
    assert not rows(page, '.why')


def test_everything_can_be_reached_by_the_keyboard(page, service):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    search(page, 'thing03', 1)

    def press(*keys):
        ActionChains(page).send_keys(*keys).perform()

    press(Keys.TAB, Keys.ENTER)
    check_list(page, service, ['i003'])
    names = []
    for _ in range(5):
        press(Keys.TAB)
        names.append(page.switch_to.active_element.accessible_name)
    assert names[:2] == ['Clear', 'Remove thing03 of shelf0 and row3']
    assert names[3].startswith('Add ') and names[3].endswith(' to the history')
    for _ in range(3):
        ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    press(Keys.SPACE)
    check_list(page, service, [])
    assert page.switch_to.active_element.get_attribute('id') == 'words', 'focus does not get lost'


def test_it_fits_a_phone(page, service):
    page.execute_cdp_cmd('Emulation.setDeviceMetricsOverride',
                         {'width': 360, 'height': 700, 'deviceScaleFactor': 2, 'mobile': True})
    try:
        search(page, 'thing03', 1)
        rows(page, '#found button')[0].click()
        check_list(page, service, ['i003'])
        assert page.execute_script('return document.documentElement.scrollWidth') <= 360
        small = [button.accessible_name for button in rows(page, '#list button') if button.size['height'] < 44]
        assert not small
    finally:
        page.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


@pytest.mark.slow
def test_titles_are_text_and_no_other_address_is_asked(browser, untrained, tmp_path):
    with running(tmp_path, f'--workdir={untrained()}', *FEW, token=TOKEN) as service:
        assert service.post('/items', items=[{'item_id': EVIL, 'title': f'{KEPT} thing03'}])[0] == 200
        browser.get_log('performance')
        browser.get(f'http://localhost:{service.port}/')
        field = browser.find_element('id', 'secret')
        field.send_keys('wrong\n')
        wait(browser, lambda: 'does not know this token' in browser.find_element('id', 'trouble').text)
        browser.find_element('id', 'secret').send_keys(TOKEN + '\n')
        wait(browser, lambda: len(rows(browser, '#list li')) == 10)
        assert not browser.find_element('id', 'trouble').is_displayed()
        search(browser, 'onfocus thing03', 1)
        assert rows(browser, '#found .name')[0].text == f'{KEPT} thing03'
        rows(browser, '#found button')[0].click()
        check_list(browser, service, [EVIL])
        assert browser.title == 'What comes next'
        asked = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
        asked = [message['params']['request']['url'] for message in asked
                 if message['method'] == 'Network.requestWillBeSent']
        assert asked and all(url.startswith((f'http://localhost:{service.port}/', 'data:')) for url in asked)
        assert not [entry for entry in browser.get_log('browser') if 'Security' in entry['message']]
        service.end()
        browser.find_element('id', 'clear').click()
        wait(browser, lambda: 'does not answer' in browser.find_element('id', 'trouble').text)
